"""The rows that are counted in instructions, in the guest of scripts/compare-guest.

There, one nanosecond of CPU time is one instruction (QEMU's -icount shift=0). Each proxy is warmed up by the same
load that is measured after it; what is yielded is a figure per batch.
"""

import pathlib
import time

from . import rows
from .machine import TICKS
from .programs import PEERS
from .rows import GREETING, RESUME, Row
from .samples import Samples

BATCHES = 3
FILE_BYTES = 16 << 20
SIZES = {"1k": 1 << 10, "16k": 16 << 10, "256k": 256 << 10, "4m": 4 << 20, "64m": 64 << 20}


class Counter:
    """The proxy's own instructions, and those of everybody."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.before = self.now()

    def now(self):
        # A process that waits for io_uring makes idle time iowait.
        fields = pathlib.Path("/proc/stat").read_text().split(maxsplit=6)
        idle = (int(fields[4]) + int(fields[5])) / TICKS
        return self.proxy.cpu_seconds(), time.monotonic() - idle

    def spent(self):
        time.sleep(0.05)  # what the proxy still has to close belongs to it
        return [after - before for after, before in zip(self.now(), self.before)]


def batches(bench, row, name, loads, unit):
    """`loads`: the load generators that run at the same time, by what they are asked for."""
    with bench.proxy(name, row) as proxy:
        for batch in range(1 + (1 if bench.smoke else BATCHES)):
            started = [bench.load(name, proxy.port, one, *arguments) for one, arguments in loads]
            for load in started:
                load.__enter__()
            last = batch == (1 if bench.smoke else BATCHES)
            sampled = Samples(proxy.process.pid) if last and bench.samples else None
            try:
                counter = Counter(proxy)
                for load in started:
                    load.start()
                counts = [load.result()["counts"] for load in started]
                own, whole = counter.spent()
                text = sampled.text() if sampled else None
            finally:
                for load in started:
                    load.__exit__()
            units = sum(count[unit] for count in counts)
            if row.key == "get-small":
                bench.rates.setdefault(name, []).append(units / counts[0]["seconds"])
            if batch > 0:
                figure = own * 1e9 / row.scale / units
                yield figure, {"units": units, "whole": whole * 1e9 / row.scale / units, "kinds": counts[0]["kinds"],
                               "samples": text}


def handshakes(bench, row, name):
    count = 10 if bench.smoke else 50
    yield from batches(bench, row, name, [(row, bound(8, count))], "done")


def requests(bench, row, name):
    count = 50 if bench.smoke else 1000
    yield from batches(bench, row, name, [(row, bound(8, count))], "done")


def bulk(bench, row, name):
    make_file(bench, "file", FILE_BYTES)
    directions = ["download", "upload"] if row.what == "both" else [row.what]
    files = 2 if bench.smoke else 4
    loads = [(rows.dataclasses.replace(row, what=what), bulk_bound(4 // len(directions), files // len(directions), what))
             for what in directions]
    yield from batches(bench, row, name, loads, "bytes")


def sizes(bench, row, name):
    """A connection for each answer of that size."""
    size = row.key.partition("-")[2]
    make_file(bench, size, SIZES[size])
    count = min(100, max(2, (64 << 20) // SIZES[size]))
    if bench.smoke:
        count = 2
    arguments = [*bound(min(4, count), count), "--path", f"/bulk/{size}"]
    yield from batches(bench, row, name, [(row, arguments)], "done")


def p99(bench, row, name):
    """At half of what the peer that is best in a closed loop keeps up with: to try all takes long under emulation."""
    peers = [peer for peer in bench.rates if peer in PEERS]
    bench.rates = {peer: bench.rates[peer] for peer in sorted(peers, key=lambda peer: min(bench.rates[peer]))[-1:]}
    for _ in range(1 if bench.smoke else BATCHES):
        yield rows.p99(bench, row, name)


def idle(bench, row, name):
    figure, detail = rows.idle(bench, row, name)
    yield figure, detail


def bound(connections, count):
    return ["--connections", connections, "--count", count, "--seconds", 3600]


def bulk_bound(connections, count, what):
    path = "/bulk/file" if what == "download" else "/"
    return [*bound(connections, count), "--bytes", FILE_BYTES, "--path", path]


def make_file(bench, name, size):
    folder = bench.folder / "bulk"
    folder.mkdir(exist_ok=True)
    with open(folder / name, "wb") as file:
        file.truncate(size)


ROWS = [
    Row("full", "full TLS 1.3 handshake", "k instr.", None, handshakes, arguments=GREETING, scale=1e3),
    Row("mutual", "mutual TLS 1.3 handshake", "k instr.", None, handshakes, mutual=True, arguments=GREETING, scale=1e3),
    Row("resumed-13", "resumed TLS 1.3 handshake", "k instr.", None, handshakes, arguments=RESUME, scale=1e3),
    Row("down", "download", "instr./byte", 0.65, bulk, "download", scale=1),
    Row("up", "upload", "instr./byte", 0.80, bulk, "upload", scale=1),
    Row("both", "download and upload at once", "instr./byte", None, bulk, "both", scale=1),
    Row("get-small", "small keep-alive request", "k instr.", 0.80, requests, "get", scale=1e3),
    Row("p99", "added p99 at half of the best peer's highest rate, open loop", "us", 0.75, p99, "get"),
    *(Row(f"size-{size}", f"connection of one answer of {size}", "k instr.", 1 / 0.97, sizes, "get", arguments=("--fresh",), scale=1e3)
      for size in SIZES),
    Row("idle", "PSS per idle connection", "KiB", None, idle, "idle", limit=2),
]
