"""Thousands of certificates: start, memory, reload of one and of all, handshakes meanwhile."""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

from . import machine, output
from .programs import (BACKEND, OTHERS_CPU, PROXY_CPU, ROOT, Failed, Load, Program, built, free_port, kill,
                       lockgate, pinned)

PACKAGES = ["haproxy", "nginx", "libnginx-mod-stream", "hitch", "openssl"]
# A reload that takes longer is given up.
PATIENCE = 180

HAPROXY = """
global
    nbthread 1
    maxconn 9000
    stats socket {dir}/haproxy.sock mode 600 level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend edge
    bind 127.0.0.1:{port} ssl crt {dir}/pem/
    default_backend app
backend app
    server app 127.0.0.1:{backend}
"""
NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx-proxy.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_names_hash_max_size 131072;
    server_names_hash_bucket_size 128;
{servers}
}}
"""
NGINX_SERVER = """    server {{ listen 127.0.0.1:{port} ssl; server_name n{number}.test; return 204;
        ssl_certificate {dir}/live/n{number}.crt; ssl_certificate_key {dir}/live/n{number}.key; }}
"""
HITCH = """
frontend = {{ host = "127.0.0.1" port = "{port}" }}
backend = "[127.0.0.1]:{backend}"
pem-dir = "{dir}/pem"
workers = 1
daemon = off
quiet = on
{user}
"""
LOCKGATE = """
[runtime]
handshake_threads = 1
relay_threads = 1
[limits]
connections = 9000
[log]
level = "error"
[[listener]]
name = "edge"
listen = "127.0.0.1:{port}"
backend = "app"
certificates_dir = "{dir}/live"
[[backend]]
name = "app"
servers = ["127.0.0.1:{backend}"]
"""


def main():
    options = arguments()
    if len(os.sched_getaffinity(0)) < 2:
        print("reload-bench: two CPUs are needed, one for the proxy and one for the rest", file=sys.stderr)
        return 1
    subprocess.run([ROOT / "scripts/install-tools", *PACKAGES], check=True, cwd=ROOT)
    options.binary = options.binary or built("--bins")
    options.load = options.load or built("--example=load")
    options.certificates = options.certificates or built_certificates()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lockgate-reload-"))
    folder.chmod(0o755)
    try:
        return run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description="reloads of thousands of certificates, beside the peers")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=11, help="of one certificate changed, and of quiet and busy")
    parser.add_argument("--all-rounds", type=int, default=5, help="of all certificates changed, and of the start")
    parser.add_argument("--rate", type=int, default=200, help="handshakes per second meanwhile")
    parser.add_argument("--seconds", type=int, default=4, help="of one measurement of handshakes")
    parser.add_argument("--peers", default="haproxy,nginx,hitch")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--docs", action="store_true", help="also write the table of docs/performance.md")
    for program in ("binary", "load", "certificates"):
        parser.add_argument(f"--{program}", type=pathlib.Path, help="instead of one that is built")
    options = parser.parse_args()
    options.peers = [name for name in options.peers.split(",") if name]
    if options.smoke:
        options.count, options.rounds, options.all_rounds, options.seconds = 200, 1, 1, 1
    return options


def built_certificates():
    built("--example=certificates")
    return ROOT / "target/release/examples/certificates"


class Proxy:
    """One of those that are compared, with a folder of its own whose content is exchanged."""

    def __init__(self, name, options, folder, backend, sets):
        self.name, self.options, self.port = name, options, free_port()
        self.folder = folder / name
        self.folder.mkdir()
        # The set that each certificate is of.
        self.sets, self.set_of = sets, [0] * options.count
        # What it reads, and the names of the files of one certificate; haproxy and hitch have one for both.
        self.is_pem = name in ("haproxy", "hitch")
        self.live = self.folder / ("pem" if self.is_pem else "live")
        self.kinds = ("pem",) if self.is_pem else ("key", "crt")
        shutil.copytree(sets[0] / self.live.name, self.live)
        values = {"port": self.port, "backend": backend, "dir": self.folder}
        if name == "nginx":
            servers = "".join(NGINX_SERVER.format(number=number, **values) for number in range(options.count))
            text = NGINX.format(servers=servers, **values)
        elif name == "hitch":
            user = 'user = "nobody"\ngroup = "nogroup"' if os.geteuid() == 0 else ""
            text = HITCH.format(user=user, **values)
        else:
            text = {"haproxy": HAPROXY, "lockgate": LOCKGATE}[name].format(**values)
        config = self.folder / "config"
        config.write_text(text)
        self.command = {
            "lockgate": [options.binary, "run", "--config", config],
            "haproxy": ["haproxy", "-Ws", "-f", config],
            "nginx": ["nginx", "-c", config],
            "hitch": ["hitch", f"--config={config}"]}[name]

    def start(self, pin=False):
        """Seconds until the first handshake was answered; on all CPUs, or pinned to its own."""
        self.log = open(self.folder / "log", "ab")
        began = time.monotonic()
        cpus = pinned(PROXY_CPU) if pin else ["taskset", "-c", f"0-{os.cpu_count() - 1}"]
        self.process = subprocess.Popen(
            [*cpus, *map(str, self.command)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait(0)
        return time.monotonic() - began

    def stop(self):
        for pid in reversed(machine.tree(self.process.pid)):
            kill(pid)
        self.process.wait()
        self.log.close()

    def signal(self):
        number = {"lockgate": None, "haproxy": signal.SIGUSR2, "nginx": signal.SIGHUP, "hitch": signal.SIGHUP}[self.name]
        if number is not None:
            self.process.send_signal(number)

    def fingerprint(self, number):
        text = (self.live / f"n{number}.{self.kinds[-1]}").read_text()
        end = "-----END CERTIFICATE-----"
        leaf = text[text.index("-----BEGIN CERTIFICATE-----"):text.index(end)] + end
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).digest()

    def wait(self, number, pause=0.0):
        """Until it is served as its file has it."""
        wanted, deadline = self.fingerprint(number), time.monotonic() + PATIENCE
        while served(self.port, f"n{number}.test") != wanted:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended; see its log:\n" + (self.folder / "log").read_text()[-2000:])
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} did not serve n{number} in {PATIENCE} s")
            time.sleep(pause)

    def exchange(self, numbers):
        """Each file is renamed over by the one of the other set; the time when the last one was."""
        stage = self.folder / "stage"
        stage.mkdir()
        names = []
        for number in numbers:
            self.set_of[number] = 1 - self.set_of[number]
            other = self.sets[self.set_of[number]] / self.live.name
            for kind in self.kinds:
                names.append(f"n{number}.{kind}")
                shutil.copyfile(other / names[-1], stage / names[-1])
        for name in names:
            (stage / name).rename(self.live / name)
        stage.rmdir()
        return time.monotonic()

    def change_all(self, pause=0.005):
        """Seconds until the last of all is served."""
        last = self.options.count - 1
        began = self.exchange(range(self.options.count))
        self.signal()
        self.wait(last, pause)
        return time.monotonic() - began

    def change_blindly(self):
        """One of them, ten times a second; to look when it is served would be a load as well."""
        self.exchange([2])
        self.signal()
        time.sleep(0.1)

    def change_one(self, number):
        """Seconds from rename(2) until it is served."""
        began = self.exchange([number])
        self.signal()
        self.wait(number)
        return time.monotonic() - began


CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


def served(port, name):
    """The fingerprint of the certificate that a client gets; None where there is no answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            with CONTEXT.wrap_socket(plain, server_hostname=name) as client:
                return hashlib.sha256(client.getpeercert(binary_form=True)).digest()
    except OSError:
        time.sleep(0.001)
        return None


def make_sets(options, folder):
    """Two sets of the same names, as everybody wants to have them."""
    authority = folder / "ca"
    subprocess.run([options.binary, "pki", "init", "--dir", authority], check=True, capture_output=True)
    shutil.copyfile(authority / "root-ca.crt", folder / "ca.crt")
    sets = [folder / "one", folder / "two"]
    subprocess.run([options.certificates, authority, str(options.count), *(one / "live" for one in sets)], check=True)
    for one in sets:
        (one / "pem").mkdir()
        for number in range(options.count):
            parts = [(one / f"live/n{number}.{kind}").read_text() for kind in ("crt", "key")]
            (one / f"pem/n{number}.pem").write_text("".join(parts))
    return sets


def latencies(options, folder, proxy, change=None):
    """p99 in us of handshakes that begin at a fixed rate, and how many changes there were: one follows another.

    Who changes files gives way to the client that is measured (SCHED_IDLE).
    """
    bound = ["--connections", 32, "--rate", options.rate, "--seconds", options.seconds, "--name", "n1.test",
             "--suite", "TLS13_AES_128_GCM_SHA256", "--group", "X25519"]
    with Load(options.load, folder, proxy.port, "handshake", *bound) as load:
        load.start()
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        changes, until = 0, time.monotonic() + options.seconds - 0.5
        while change and time.monotonic() < until:
            change()
            changes += 1
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return load.result()["latency_us"]["p99"], changes


def measure(options, folder, name, backend, sets):
    proxy = Proxy(name, options, folder, backend, sets)
    figures = {key: [] for key, *_ in ROWS}
    for _ in range(options.all_rounds):
        figures["start_s"].append(proxy.start())
        time.sleep(1)
        figures["pss_mib"].append(machine.pss_bytes(proxy.process.pid) / (1 << 20))
        figures["all_s"].append(proxy.change_all())
        time.sleep(1)
        slow = figures["all_s"][-1] > 5
        for number in range(1 if slow else options.rounds):
            figures["one_ms"].append(proxy.change_one(2 + number) * 1000)
        figures["pss_after_mib"].append(machine.pss_bytes(proxy.process.pid) / (1 << 20))
        proxy.stop()
        if slow:
            return figures
    proxy.start(pin=True)
    try:
        busy = {"one_p99": proxy.change_blindly, "all_p99": lambda: proxy.change_all(pause=0.05)}
        for _ in range(options.rounds):
            for row, change in busy.items():
                quiet, _ = latencies(options, folder, proxy)
                p99, changes = latencies(options, folder, proxy, change)
                figures["quiet_p99"].append(quiet)
                figures[row].append(p99 / quiet)
                figures.setdefault(row + "_changes", []).append(changes)
    finally:
        proxy.stop()
    return figures


def run(options, folder):
    sets = make_sets(options, folder)
    # What is done here leaves the CPU to the load generator.
    os.sched_setaffinity(0, {int(OTHERS_CPU)})
    os.nice(10)
    about = machine.description(options.binary) | {"certificates": options.count}
    results, failures = {}, []
    greeter = free_port()
    with Program(BACKEND, folder, OTHERS_CPU, greeter) as backend:
        for name in ["lockgate", *options.peers]:
            try:
                results[name] = measure(options, folder, name, backend.port, sets)
            except Failed as failure:
                failures.append(f"{name}: {failure}")
            print(f"{name}: done", file=sys.stderr, flush=True)
    print(table(about, results, failures))
    if options.docs:
        document(about, results)
    target = ROOT / "target/compare"
    target.mkdir(parents=True, exist_ok=True)
    (target / "reloads.json").write_text(json.dumps({"about": about, "results": results, "failures": failures}, indent=1))
    return 1 if any(failure.startswith("lockgate") for failure in failures) else 0


ROWS = [
    ("start_s", "start to the first handshake, s"), ("pss_mib", "PSS a second after the start, MiB"),
    ("all_s", "all exchanged, until the last is served, s"),
    ("one_ms", "one exchanged, until it is served, ms"),
    ("pss_after_mib", "PSS after reloads, MiB"),
    ("quiet_p99", "p99 of handshakes, quiet, us"),
    ("one_p99", "p99 while one is exchanged ten times a second, to quiet"),
    ("all_p99", "p99 while all are exchanged again and again, to quiet")]


def cells(results):
    """For each row its title and what is said of each proxy: median (worst)."""
    for key, title in ROWS:
        texts = []
        for figures in results.values():
            values = figures.get(key)
            texts.append(f"{statistics.median(values):.2f} ({max(values):.2f})" if values else "-")
        yield title, texts


def table(about, results, failures):
    lines = [f"{key + ':':14} {value}" for key, value in about.items()] + [""]
    lines.append("median (worst)".ljust(58) + "".join(name.rjust(20) for name in results))
    lines += [title.ljust(58) + "".join(text.rjust(20) for text in texts) for title, texts in cells(results)]
    return "\n".join([*lines, "", *[f"failed: {failure}" for failure in failures]])


def document(about, results):
    lines = [f"- {key}: {value}" for key, value in about.items()]
    lines += ["", "| median (worst) | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]
    lines += ["| " + " | ".join([title, *texts]) + " |" for title, texts in cells(results)]
    output.between_marks(ROOT / "docs/performance.md", "reloads", "\n".join(lines))
