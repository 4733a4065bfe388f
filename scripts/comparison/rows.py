"""The rows of the table: what is asked of each proxy, and what is counted."""

import dataclasses
import time

from . import machine
from .programs import BULK_BYTES, PEERS, PROXY_CPU, Failed, Load, Program

SUITES = {"1.2": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "1.3": "TLS13_AES_128_GCM_SHA256"}


@dataclasses.dataclass
class Row:
    key: str
    title: str
    unit: str
    # Against the best of the peers; None: reported only.
    must: float | None
    measure: object
    what: str = "handshake"
    tls: str = "1.3"
    mutual: bool = False
    arguments: tuple = ()
    # What lockgate is asked for where it differs from the peers.
    group: str = "X25519"
    # Units that the figure is divided by.
    scale: float = 1e6
    # What lockgate's own figure must not exceed, whatever the peers do.
    limit: float | None = None
    # The share of stolen time up to which a measurement counts.
    steal_max: float = 0.05


@dataclasses.dataclass
class Bench:
    """What the rows share."""

    folder: object
    # Who takes part, by name.
    kinds: dict
    load_generator: object
    backend: Program
    greeter: int
    seconds: int
    smoke: bool
    idle: int
    bulk_count: int
    # Requests per second by proxy, from the row get-small.
    rates: dict
    # Whether to sample where instructions go (in the guest only).
    samples: bool = False
    # Requests per second by peer that it keeps up with in an open loop; what p99 takes half of the best of.
    open_rates: dict | None = None
    # What the idle connections cost the kernel without a proxy.
    direct_slab: int | None = None

    def proxy(self, name, row):
        backend = self.greeter if row.what == "handshake" else self.backend.port
        return Program(self.kinds[name], self.folder, PROXY_CPU, backend, row.mutual)

    def load(self, name, port, row, *arguments, plain=False, yielding=False):
        options = list(arguments)
        if not plain:
            group = "X25519" if name in PEERS else row.group
            options += ["--tls", row.tls, "--suite", SUITES[row.tls], "--group", group]
        if row.mutual and not plain:
            options += ["--cert", self.folder / "client.crt", "--key", self.folder / "client.key"]
        return Load(self.load_generator, self.folder, port, row.what, *options, *row.arguments, plain=plain, yielding=yielding)


def cpu(bench, row, name):
    """CPU time of the proxy's processes per unit."""
    bulk = row.what in ("download", "upload")
    if bulk:
        bound = ["--connections", 4, "--count", bench.bulk_count, "--bytes", BULK_BYTES]
        bound += ["--seconds", 120, "--path", "/bulk/file" if row.what == "download" else "/"]
    else:
        connections, count = (32, 3000) if row.what == "get" else (16, 300)
        bound = ["--connections", connections, "--seconds", bench.seconds]
        if bench.smoke:
            bound += ["--count", count]
    with bench.proxy(name, row) as proxy, bench.load(name, proxy.port, row, *bound) as load:
        before = proxy.cpu_seconds()
        result = load.run()
        # What the proxy still has to close belongs to it.
        time.sleep(0.05)
        spent = proxy.cpu_seconds() - before
    counts = result["counts"]
    if row.key == "get-small":
        bench.rates.setdefault(name, []).append(result["per_second"])
    units = counts["bytes"] / 1e9 if bulk else counts["done"]
    return spent * row.scale / units, summary(result)


def idle(bench, row, name):
    """PSS of the proxy and kernel slab, per connection that does nothing.

    Slab is counted for the machine. The client's and the backend's sockets are as many as without
    a proxy, so what a direct connection costs is subtracted.
    """
    processes = ["--connections", bench.idle, "--processes", 2]
    if bench.direct_slab is None:
        before = machine.slab_bytes()
        with bench.load(name, bench.backend.port, row, *processes, plain=True):
            time.sleep(0.3)
            bench.direct_slab = machine.slab_bytes() - before
        time.sleep(0.5)
    with bench.proxy(name, row) as proxy:
        # One connection, so that what is made once is there.
        with bench.load(name, proxy.port, row, "--connections", 1):
            pass
        pss, slab = machine.pss_bytes(proxy.process.pid), machine.slab_bytes()
        with bench.load(name, proxy.port, row, *processes):
            # What the handshakes leave behind may be gone after a while.
            time.sleep(3)
            pss = machine.pss_bytes(proxy.process.pid) - pss
            slab = machine.slab_bytes() - slab - bench.direct_slab
    return pss / 1024 / bench.idle, {"slab_kib": round(slab / 1024 / bench.idle, 2)}


def p99(bench, row, name):
    """What the proxy adds to the p99 of requests that begin at a fixed rate: half of the highest at
    which the best peer keeps up."""
    if not bench.open_rates:
        peers = [peer for peer in bench.kinds if peer in PEERS and peer in bench.rates]
        bench.open_rates = {peer: highest_rate(bench, row, peer) for peer in peers}
    if not bench.open_rates:
        raise Failed("needs the row get-small, with a peer, in the same run")
    rate = max(bench.open_rates.values()) // 2
    bound = ["--connections", 32, "--seconds", bench.seconds, "--rate", rate]
    with bench.load(name, bench.backend.port, row, *bound, plain=True) as load:
        direct = load.run()["latency_us"]["p99"]
    with bench.proxy(name, row) as proxy, bench.load(name, proxy.port, row, *bound) as load:
        result = load.run()
    detail = summary(result) | {"rate": rate, "direct_p99_us": direct, "highest_rates": bench.open_rates}
    return max(result["latency_us"]["p99"] - direct, 0.1), detail


def highest_rate(bench, row, name):
    """Requests per second, in steps of a tenth, at which a proxy falls behind by less than 1 %.

    Well below its rate in a closed loop, in which 32 requests wait at any moment and one wake-up serves many of them:
    requests that begin one by one wake proxy, backend and client each, and half of the closed loop's rate may be more
    than the client's CPU can do.
    """
    def keeps_up(rate):
        bound = ["--connections", 32, "--seconds", bench.seconds, "--rate", rate]
        with bench.proxy(name, row) as proxy, bench.load(name, proxy.port, row, *bound) as load:
            return load.run()["per_second"] >= 0.99 * rate

    rate = max(int(min(bench.rates[name]) / 2), 10)
    step, kept_up = 1.1, keeps_up(rate)
    while 10 < rate < 10**6:
        following = int(rate * step if kept_up else rate / step)
        if keeps_up(following) != kept_up:
            return rate if kept_up else following
        rate = following
    return rate


def flood(bench, row, name):
    """p99 of established connections while handshakes flood the same proxy, over their p99 when it is quiet.

    What floods gives way to everybody else on its CPU (SCHED_IDLE): otherwise the client that is measured, and the
    backend, would wait for it as well.
    """
    # Long enough for p99 to be more than a few requests.
    seconds = bench.seconds if bench.smoke else 4 * bench.seconds
    bound = ["--connections", 16, "--rate", 500, "--seconds", seconds]
    handshakes = dataclasses.replace(row, what="handshake")
    flooding = ["--connections", 16, "--seconds", seconds + 2]
    with bench.proxy(name, row) as proxy:
        with bench.load(name, proxy.port, row, *bound) as load:
            quiet = load.run()["latency_us"]["p99"]
        with bench.load(name, proxy.port, row, *bound) as load, \
                bench.load(name, proxy.port, handshakes, *flooding, yielding=True) as crowd:
            crowd.start()
            time.sleep(0.5)
            result = load.run()
            handshakes_done = crowd.result()["per_second"]
    busy = result["latency_us"]["p99"]
    return busy / quiet, summary(result) | {"quiet_p99_us": quiet, "handshakes_per_second": handshakes_done}


def summary(result):
    counts = result["counts"]
    keys = ("done", "failed", "bytes", "seconds", "unclean_ends", "kinds", "errors")
    return {key: counts[key] for key in keys} | {
        "per_second": result["per_second"], "latency_us": result["latency_us"]}


# For the slowest percent of requests, less time must be stolen than it takes.
QUIET = 0.005
GREETING = ("--greeting",)
RESUME = ("--greeting", "--resume")
ROWS = [
    Row("full", "full TLS 1.3 handshake", "us CPU", 0.35, cpu, arguments=GREETING),
    Row("full-mlkem", "the same with X25519MLKEM768, peers with X25519", "us CPU", 0.50, cpu,
        arguments=GREETING, group="X25519MLKEM768"),
    Row("mutual", "mutual TLS 1.3 handshake", "us CPU", 0.20, cpu, mutual=True, arguments=GREETING),
    Row("resumed-12", "resumed TLS 1.2 handshake", "us CPU", 0.55, cpu, tls="1.2", arguments=RESUME),
    Row("resumed-13", "resumed TLS 1.3 handshake", "us CPU", 0.65, cpu, arguments=RESUME),
    Row("down", "download", "CPU s/GB", 1.0, cpu, "download", scale=1),
    Row("up", "upload", "CPU s/GB", 1.0, cpu, "upload", scale=1),
    Row("get-small", "small keep-alive request", "us CPU", 0.80, cpu, "get"),
    Row("p99", "added p99 at half of the best peer's highest rate, open loop", "us", 0.75, p99, "get", steal_max=QUIET),
    Row("flood", "p99 while handshakes flood, over p99 when quiet", "x", None, flood, "get", limit=1.5, steal_max=QUIET),
    Row("idle", "PSS per idle connection", "KiB", None, idle, "idle", limit=6),
]
