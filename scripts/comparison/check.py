"""scripts/compare --check-load: the load generator beside openssl s_time and wrk, so that its figures can be believed.

Both load the same haproxy in turn. What must agree is what the proxy spends on a unit; units per second differ
with what the clients themselves cost.
"""

import re
import statistics
import subprocess
import time

from .programs import BACKEND, OTHERS_CPU, PEERS, PROXY_CPU, Failed, Load, Program, free_port, pinned

SUITE = "TLS13_AES_128_GCM_SHA256"
CONNECTIONS = 32


def check(generator, folder, rounds, seconds):
    """The result is a row for each figure: what, load, the other's, median ratio, least, most, the other's name."""
    def load(*arguments):
        def run_it(port):
            options = ["--suite", SUITE, "--group", "X25519", "--seconds", seconds, *arguments]
            with Load(generator, folder, port, "get", *options) as one:
                counts = one.run()["counts"]
            return counts["done"], counts["seconds"]
        return run_it

    cases = [
        ("full handshake and one request", load("--fresh"), "openssl s_time", s_time(folder, seconds)),
        ("small keep-alive request", load("--connections", CONNECTIONS), "wrk", wrk(seconds)),
    ]
    rows = []
    with Program(BACKEND, folder, OTHERS_CPU, free_port()) as backend:
        for title, mine, name, theirs in cases:
            pairs = []
            for _ in range(rounds):
                with Program(PEERS["haproxy"], folder, PROXY_CPU, backend.port) as proxy:
                    pairs.append((spent(proxy, mine), spent(proxy, theirs)))
            for index, what in enumerate(("us of the proxy's CPU", "per second")):
                columns = [[pair[which][index] for pair in pairs] for which in (0, 1)]
                ratios = [one / other for one, other in zip(*columns)]
                rows.append((f"{title}, {what}", *map(statistics.median, columns), statistics.median(ratios),
                             min(ratios), max(ratios), name))
    return rows


def spent(proxy, load):
    """CPU microseconds of the proxy per unit, and units per second."""
    before = proxy.cpu_seconds()
    units, took = load(proxy.port)
    time.sleep(0.05)
    return (proxy.cpu_seconds() - before) * 1e6 / units, units / took


def s_time(folder, seconds):
    def run_it(port):
        text = run("openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-CAfile", str(folder / "ca.crt"), "-new",
                   "-www", "/", "-time", str(seconds), "-ciphersuites", "TLS_AES_128_GCM_SHA256")
        return counted(text, r"(\d+) connections in ([\d.]+) real seconds")
    return run_it


def wrk(seconds):
    def run_it(port):
        text = run("wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", f"https://127.0.0.1:{port}/")
        return counted(text, r"(\d+) requests in ([\d.]+)s")
    return run_it


def counted(text, pattern):
    found = re.search(pattern, text)
    if not found or int(found[1]) == 0:
        raise Failed(f"it counted nothing: {text[-500:]}")
    return int(found[1]), float(found[2])


def run(*command):
    result = subprocess.run([*pinned(OTHERS_CPU), *command], capture_output=True, text=True, check=False)
    return result.stdout + result.stderr
