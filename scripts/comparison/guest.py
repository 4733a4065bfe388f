"""The run of scripts/compare-guest, from outside: builds the guest, boots it, and makes a table of what it says."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from . import figures, image, machine, output
from .instructions import ROWS
from .main import PACKAGES, names
from .programs import PEERS, ROOT, built, certificates, lockgate

OFFLOAD = {"": "required", "-user": "off", "-auto": "auto", "-bulk": "bulk"}
SMOKE_ROWS = ["full", "down", "get-small"]
# mitigations=off: what they add is work of the CPU, which a count of instructions does not show, and under
# emulation they cost minutes.
KERNEL_COMMAND_LINE = ("console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off transparent_hugepage=never"
                       " random.trust_cpu=on nokaslr norandmaps")


def main():
    options = arguments()
    subprocess.run([ROOT / "scripts/install-tools", *PACKAGES, "cpio", "python3",
                    *(["linux-perf"] if options.samples else [])], check=True, cwd=ROOT)
    emulator = pathlib.Path(subprocess.run(
        [ROOT / "scripts/emulator", options.line], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    build(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lockgate-compare-guest-"))
    try:
        return run(options, emulator, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments():
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(description="lockgate beside its peers, in instructions on kernel TLS")
    parser.add_argument("--line", choices=["6.1", "6.12", "7"], default="6.12", help="the kernel")
    parser.add_argument("--cpu", default="Cascadelake-Server,-erms,-fsrm", help="as QEMU's -cpu")
    parser.add_argument("--rows", type=names(keys), help=", ".join(keys))
    parser.add_argument("--peers", type=names([*PEERS, ""]), default=list(PEERS))
    parser.add_argument("--variants", type=names(["kernel", "user", "auto", "bulk"]), default=["kernel", "bulk", "user"],
                        help="kernel, user, auto, bulk; not for the rows of sizes")
    parser.add_argument("--binary", action="append", metavar="NAME=PATH", default=[],
                        help="a lockgate to measure instead of building one; several are compared")
    parser.add_argument("--load", type=pathlib.Path, help="the load generator, instead of building it")
    parser.add_argument("--smoke", action="store_true", help="a few units of a few rows")
    parser.add_argument("--idle", type=int, default=5000, help="connections of the row idle")
    parser.add_argument("--samples", action="store_true",
                        help="also show where the instructions of the last batch went, by perf; the figures of that"
                             " batch are of no use then")
    parser.add_argument("--docs", action="store_true", help="also write the table and plots of docs/performance.md")
    parser.add_argument("--timeout", type=int, default=3600, help="of the guest, in seconds")
    options = parser.parse_args()
    options.peers = [peer for peer in options.peers if peer]
    if options.smoke:
        options.idle = min(options.idle, 100)
    options.rows = options.rows or (SMOKE_ROWS if options.smoke else keys)
    return options


def build(options):
    options.binaries = dict(one.split("=", 1) for one in options.binary) or {"lockgate": built("--bins")}
    options.load = options.load or built("--example=load")


def run(options, emulator, folder):
    kinds, programs = [], {"/programs/load": options.load}
    for name, binary in options.binaries.items():
        inside = f"/programs/{name}/lockgate"
        programs[inside] = pathlib.Path(binary).resolve(strict=True)
        kinds += [lockgate(inside, name + suffix, OFFLOAD[suffix]) for suffix in OFFLOAD]
    bench = folder / "bench"
    bench.mkdir()
    bench.chmod(0o755)
    certificates(bench)
    image.build(folder, programs, emulator / "modules", {
        "folder": str(bench), "kinds": [vars(kind) for kind in kinds], "smoke": options.smoke, "idle": options.idle,
        "samples": options.samples, "load": "/programs/load",
        "rows": {row: columns(options, row) for row in options.rows}})
    started = time.monotonic()
    told = boot(options, emulator, folder)
    return report(options, told, time.monotonic() - started)


def columns(options, row):
    """Who takes part. In rows of sizes, what auto chooses is held against user space."""
    if row.startswith("size-"):
        return [name + suffix for name in options.binaries for suffix in ("-auto", "-user")]
    if row == "p99" and not options.peers:
        return []  # its rate is a peer's
    suffixes = ["" if variant == "kernel" else f"-{variant}" for variant in options.variants]
    return [name + suffix for name in options.binaries for suffix in suffixes] + options.peers


def pairs(options, row):
    if row.startswith("size-"):
        return [(f"{name}-auto", [f"{name}-user"], True) for name in options.binaries]
    names = [name for name in columns(options, row) if name not in PEERS]
    if options.peers:
        return [(name, options.peers, not name.endswith(("-user", "-auto"))) for name in names]
    # Two builds, or two variants: against the first.
    return [(name, [names[0]], False) for name in names[1:]]


def boot(options, emulator, folder):
    """What the guest says, line by line, until it powers off."""
    qemu = emulator.parent / "emulator-qemu/root"
    environment = {"LD_LIBRARY_PATH": f"{qemu}/usr/lib/x86_64-linux-gnu:{qemu}/lib/x86_64-linux-gnu",
                   "QEMU_MODULE_DIR": f"{qemu}/usr/lib/x86_64-linux-gnu/qemu"}
    console = folder / "console"
    process = subprocess.Popen(
        [f"{qemu}/usr/bin/qemu-system-x86_64", "-L", f"{qemu}/usr/share/qemu", "-L", f"{qemu}/usr/share/seabios",
         "-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0,sleep=off",
         "-cpu", options.cpu, "-smp", "1", "-m", "3G",
         "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}", "-serial", "stdio",
         "-kernel", emulator / "vmlinuz", "-initrd", folder / "initramfs", "-append", KERNEL_COMMAND_LINE],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | environment)
    timer = threading.Timer(options.timeout, process.kill)
    timer.start()
    told = []
    try:
        for line in process.stdout:
            told.append(json.loads(line))
            show(told[-1])
        process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    if not told or "done" not in told[-1]:
        print(f"compare-guest: the guest ended early, or was killed after {options.timeout} s. Its console:\n"
              + console.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise SystemExit(1)
    return told


def show(one):
    if "figure" in one:
        print(f"{one['row']:12} {one['proxy']:14} {output.number(one['figure']):>8}"
              f"  all: {output.number(one['detail'].get('whole'))}", file=sys.stderr, flush=True)
        if one["detail"].get("samples"):
            print(one["detail"]["samples"], file=sys.stderr, flush=True)
    elif "failed" in one:
        print(f"{one['row']:12} {one['proxy']:14} failed: {one['failed']}\n{one['log']}", file=sys.stderr, flush=True)


def report(options, told, seconds):
    about = machine.description(next(iter(options.binaries.values()))) | {
        "kernel": f"{told[0]['kernel']} in QEMU, a guest on {machine.platform.release()}",
        "cpu": f"{told[0]['cpu']}, one, emulated; kernel TLS with {told[-1]['aes']}",
        "lockgate probe": told[0]["auto"]["data_path"]["text"]}
    results = []
    for row in ROWS:
        batches = {}
        for one in told:
            if one.get("row") == row.key and "figure" in one:
                batches.setdefault(one["proxy"], []).append(one["figure"])
        if batches:
            rounds = [dict(zip(batches, batch)) for batch in zip(*batches.values())]
            results.append(figures.of_row(row, rounds, pairs(options, row.key)))
    taking_part = {name for row in options.rows for name in columns(options, row)}
    everybody = [name + suffix for name in options.binaries for suffix in OFFLOAD] + options.peers
    shown = [name for name in everybody if name in taking_part]
    notes = [f"counted in the guest in {seconds:.0f} s; one nanosecond of its clock is one instruction"]
    notes += [f"failed: {one['row']} {one['proxy']}: {one['failed']}" for one in told if "failed" in one]
    if options.smoke:
        notes.append("a smoke run: it shows that the instrument works, its figures mean nothing")
    print(output.table(about, results, shown, notes))
    name = f"guest-{options.line}"
    output.write(ROOT / "target/compare", name, about, results, shown, notes, told)
    if options.docs:
        output.document(ROOT / "docs", name, about, results, shown, notes)
    return 1 if any("failed" in one and one["proxy"] not in PEERS for one in told) else 0
