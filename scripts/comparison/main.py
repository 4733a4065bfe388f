"""The run: everybody in turn, round after round."""

import argparse
import collections
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from . import check, figures, machine, output
from .programs import (
    BACKEND, BULK_BYTES, OTHERS_CPU, PEERS, ROOT, Failed, Program, built, certificates, free_port, lockgate)
from .rows import ROWS, Bench

PACKAGES = ["haproxy", "nginx", "libnginx-mod-stream", "hitch", "stunnel4", "wrk", "openssl"]
# A measurement during which the hypervisor took more than the row allows is repeated until there were so many; when
# the last one is no better, it is dropped. A ratio needs both of its measurements in one round.
ATTEMPTS = 3


def main():
    options = arguments()
    started = time.monotonic()
    if len(machine.os.sched_getaffinity(0)) < 2:
        print("compare: two CPUs are needed, one for the proxy and one for the rest", file=sys.stderr)
        return 1
    prepare(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lockgate-compare-"))
    # Workers of nginx and hitch that are not root read the file and write bodies.
    folder.chmod(0o755)
    try:
        return run(options, folder, started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description="lockgate beside its peers, on this machine")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--smoke", action="store_true", help="one short round")
    parser.add_argument("--seconds", type=int, default=2, help="of one measurement that is bounded in time")
    parser.add_argument("--rows", type=names([row.key for row in ROWS]), default=[row.key for row in ROWS])
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS))
    parser.add_argument("--check-load", action="store_true",
                        help="instead: the load generator beside openssl s_time and wrk")
    parser.add_argument("--binary", type=pathlib.Path, help="the lockgate to measure, instead of building it")
    parser.add_argument("--load", type=pathlib.Path, help="the load generator, instead of building it")
    parser.add_argument("--docs", action="store_true", help="also write the tables and plots of docs/performance.md")
    parser.add_argument("--idle", type=int, default=5000, help="connections of the row idle")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds, options.idle = 1, 1, min(options.idle, 500)
    return options


def names(known):
    def parse(text):
        unknown = set(text.split(",")) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
        return text.split(",")
    return parse


def prepare(options):
    subprocess.run([ROOT / "scripts/install-tools", *PACKAGES], check=True, cwd=ROOT)
    options.binary = options.binary or built("--bins")
    options.load = options.load or built("--example=load")


def run(options, folder, started):
    certificates(folder)
    about = machine.description(options.binary)
    if options.check_load:
        rows = check.check(options.load, folder, options.rounds, options.seconds)
        print(output.check_table(rows))
        if options.docs:
            output.document_check(ROOT / "docs", about, rows)
        return 0
    (folder / "bulk").mkdir()
    with open(folder / "bulk/file", "wb") as file:
        file.truncate(BULK_BYTES)
    rows = [row for row in ROWS if row.key in options.rows]
    proxies = ["lockgate", *options.peers]
    kept, measurements, failures = {row.key: [] for row in rows}, [], {}
    greeter = free_port()
    kinds = {"lockgate": lockgate(options.binary), **PEERS}
    with Program(BACKEND, folder, OTHERS_CPU, greeter) as backend:
        bench = Bench(folder, kinds, options.load, backend, greeter, options.seconds, options.smoke, options.idle,
                      2 if options.smoke else 16, {})
        for round_ in range(options.rounds):
            # Another one begins in each round, so that no place in the order is an advantage.
            turn = round_ % len(proxies)
            for row in rows:
                one_round(bench, row, proxies[turn:] + proxies[:turn], round_, kept, measurements, failures)
    results = [figures.of_row(row, kept[row.key], [("lockgate", options.peers, True)]) for row in rows if kept[row.key]]
    notes = remarks(options, measurements, failures, time.monotonic() - started)
    print(output.table(about, results, proxies, notes))
    output.write(ROOT / "target/compare", "native", about, results, proxies, notes, measurements)
    if options.docs:
        output.document(ROOT / "docs", "native", about, results, proxies, notes)
    return 1 if any(name == "lockgate" for _, name in failures) else 0


def one_round(bench, row, order, round_, kept, measurements, failures):
    found = {}
    for name in order:
        if failures.get((row.key, name), (0, ""))[0] >= 2:
            continue  # twice is enough
        try:
            figure, detail, steal = undisturbed(bench, row, name, 1 if bench.smoke else ATTEMPTS)
        except Failed as failure:
            count = failures.get((row.key, name), (0, ""))[0]
            failures[row.key, name] = (count + 1, str(failure))
            continue
        counts = steal <= row.steal_max or bench.smoke
        if counts:
            found[name] = figure
        measurements.append({"row": row.key, "round": round_, "proxy": name, "figure": figure,
                             "steal": steal, "counts": counts, **detail})
        print(f"round {round_ + 1} {row.key:12} {name:9} {output.number(figure):>8} {row.unit}",
              file=sys.stderr, flush=True)
    if found:
        kept[row.key].append(found)


def undisturbed(bench, row, name, attempts):
    """A figure, its details, and the share of time that was stolen meanwhile. Whether it is measured again is decided
    by that share alone."""
    steal = machine.Steal()
    figure, detail = row.measure(bench, row, name)
    share = steal.share()
    if share > row.steal_max and attempts > 1:
        return undisturbed(bench, row, name, attempts - 1)
    return figure, detail, share


def remarks(options, measurements, failures, seconds):
    notes = [f"{options.rounds} rounds in {seconds:.0f} s; medians, ratios with their 95 % interval; "
             "CPU time is that of all processes of a proxy."]
    dropped = collections.Counter(one["row"] for one in measurements if not one["counts"])
    if dropped:
        notes.append(f"measurements dropped (too much stolen time), of {options.rounds * (1 + len(options.peers))}: "
                     + ", ".join(f"{key} {count}" for key, count in dropped.items()))
    steal = max((one["steal"] for one in measurements), default=0)
    notes.append(f"most stolen in one measurement: {steal:.1%}")
    idle = {}
    for one in measurements:
        if "slab_kib" in one:
            idle.setdefault(one["proxy"], []).append(one["slab_kib"])
    if idle:
        notes.append("kernel slab per idle connection, KiB: " + ", ".join(
            f"{name} {sorted(values)[len(values) // 2]:.1f}" for name, values in idle.items()))
    notes += [f"failed: {key} {name}: {why} ({count}x)" for (key, name), (count, why) in failures.items()]
    if options.smoke:
        notes.append("a smoke run: it shows that the instruments work, its figures mean nothing")
    return notes
