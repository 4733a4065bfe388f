"""What the kernel says: CPU time of process trees, memory, stolen time, versions."""

import os
import pathlib
import platform
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                pass  # a thread that ended
    return found


def cpu_seconds(pid):
    """utime + stime of a process tree, children that have ended included.

    The clock of a process (clock_getcpuclockid(3)) counts what /proc/PID/stat does, threads that
    ended too, in nanoseconds instead of ticks of 10 ms. Of dead children only the ticks are known.
    """
    total = 0.0
    for one in tree(pid):
        try:
            total += time.clock_gettime_ns((~one << 3) | 2) / 1e9
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / TICKS
        except OSError:
            pass  # it ended just now
    return total


def pss_bytes(pid):
    total = 0
    for one in tree(pid):
        for line in pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def slab_bytes():
    """Of the whole machine: a quiet one is needed."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0


class Steal:
    """The share of all CPU time that the hypervisor gave to others since the start."""

    def __init__(self):
        self.before = self.now()

    @staticmethod
    def now():
        fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        return [int(field) for field in fields]

    def share(self):
        delta = [after - before for after, before in zip(self.now(), self.before)]
        return delta[7] / max(sum(delta), 1)


def first_line(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    lines = (result.stdout + result.stderr).splitlines()
    return next((line for line in lines if any(c.isdigit() for c in line)), "unknown")


def description(lockgate):
    cpu = next(
        (line.split(":", 1)[1].strip()
         for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        "unknown",
    )
    return {
        "kernel": platform.release(),
        "cpu": f"{cpu}, {os.cpu_count()} CPUs",
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "lockgate": first_line(str(lockgate), "--version") + ", commit "
        + first_line("git", "describe", "--always", "--dirty"),
        "haproxy": first_line("haproxy", "-v"),
        "nginx": first_line("nginx", "-v"),
        "hitch": first_line("hitch", "--version"),
        "stunnel": first_line("stunnel4", "-version"),
        "openssl": first_line("openssl", "version"),
    }
