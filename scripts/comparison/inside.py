"""The first process of the guest: prepares the machine, measures, powers off.

Results go out by the second serial line, an object a line; the first is the kernel's, and for what goes wrong.
"""

import ctypes
import fcntl
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import time
import traceback

from . import instructions
from .programs import BACKEND, OTHERS_CPU, PEERS, Failed, Kind, Program, free_port
from .rows import Bench

SETTINGS = "/settings.json"
FINIT_MODULE = 313
POWER_OFF = 0x4321FEDC
libc = ctypes.CDLL(None, use_errno=True)


def main():
    try:
        prepare()
        measure(json.loads(pathlib.Path(SETTINGS).read_text()))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os.sync()
        libc.reboot(POWER_OFF)


def prepare():
    for kind, target in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")):
        system_call(libc.mount(kind.encode(), target.encode(), kind.encode(), 0, None), f"mount {target}")
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    for module in sorted(pathlib.Path("/modules").iterdir()):
        with open(module, "rb") as file:
            # What this CPU has no use for says ENODEV.
            if libc.syscall(FINIT_MODULE, file.fileno(), b"", 0) and ctypes.get_errno() != 19:
                raise Failed(f"{module.name}: {os.strerror(ctypes.get_errno())}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))


def system_call(result, what):
    if result:
        raise Failed(f"{what}: {os.strerror(ctypes.get_errno())}")


def measure(settings):
    folder = pathlib.Path(settings["folder"])
    kinds = PEERS | {one["name"]: Kind(**one) for one in settings["kinds"]}
    with open("/dev/ttyS1", "w", buffering=1) as out:
        def say(**result):
            print(json.dumps(result), file=out)

        say(kernel=os.uname().release, cpu=cpu(), auto=auto(settings), started=time.monotonic())
        greeter = free_port()
        with Program(BACKEND, folder, OTHERS_CPU, greeter) as backend:
            bench = Bench(folder, kinds, settings["load"], backend, greeter, seconds=1, smoke=settings["smoke"],
                          idle=settings["idle"], bulk_count=0, rates={}, samples=settings["samples"])
            for row in instructions.ROWS:
                for name in settings["rows"].get(row.key, ()):
                    try:
                        for figure, detail in row.measure(bench, row, name):
                            say(row=row.key, proxy=name, figure=figure, detail=detail)
                    except Failed as failure:
                        say(row=row.key, proxy=name, failed=str(failure), log=log_of(folder, name))
        say(done=True, ended=time.monotonic(), aes=aes())


def auto(settings):
    """What lockgate's own probe makes of this machine."""
    command = [settings["kinds"][0]["command"][0], "probe", "--json"]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(found.stdout)


def log_of(folder, name):
    path = folder / f"{name}.log"
    return path.read_text(errors="replace")[-2000:] if path.exists() else ""


def aes():
    """The kernel's AES-GCM that was in use: of those that have the name, the one with the highest priority."""
    found = []
    for entry in pathlib.Path("/proc/crypto").read_text().split("\n\n"):
        fields = dict(line.split(":", 1) for line in entry.splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        if fields.get("name") == "gcm(aes)":
            found.append((int(fields["priority"]), fields["driver"]))
    return max(found, default=(0, "none"))[1]


def cpu():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
