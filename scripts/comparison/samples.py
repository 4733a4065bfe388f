"""Where the instructions of a proxy go: perf in the guest, which samples its kernel part and its own part alike."""

import os
import signal
import subprocess
import time

from . import machine

DATA = "/tmp/perf.data"
# A sample each so many instructions.
PERIOD = 50_000


class Samples:
    """Taken of a process tree between start and `text`."""

    def __init__(self, pid):
        pids = ",".join(str(one) for one in machine.tree(pid))
        self.perf = subprocess.Popen(
            ["perf", "record", "--quiet", "--event", "cpu-clock", "--count", str(PERIOD), "-g", "--pid", pids,
             "--output", DATA], stdin=subprocess.DEVNULL)
        while not os.path.exists(DATA):
            time.sleep(0.01)
        # It reads what there is of the processes first; time in which nobody does anything costs nothing here.
        time.sleep(10)

    def text(self):
        self.perf.send_signal(signal.SIGINT)
        self.perf.wait()
        parts = []
        for title, arguments in (("alone", ["--no-children", "--call-graph=none"]),
                                 ("with what is called", ["--children", "--call-graph=none"])):
            report = subprocess.run(
                ["perf", "report", "--stdio", "--quiet", "--input", DATA, "--sort", "symbol", "--percent-limit", "0.7",
                 *arguments], capture_output=True, text=True, check=False)
            parts.append(f"-- {title}\n{report.stdout.strip()}{report.stderr.strip()}")
        os.unlink(DATA)
        return "\n".join(parts)
