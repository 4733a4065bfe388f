"""The programs that take part: certificates, backend, proxies, load generator."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from . import machine

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGURATIONS = ROOT / "scripts/peers"

PROXY_CPU = "0"
OTHERS_CPU = "1"
BULK_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Kind:
    """What takes part: how it is started, where @ is its configuration, and what that is made of."""

    name: str
    command: tuple
    template: str
    values: dict = dataclasses.field(default_factory=dict)


def lockgate(binary, name="lockgate", offload="auto"):
    return Kind(name, (str(binary), "run", "--config", "@"), "lockgate", {"OFFLOAD": offload})


PEERS = {
    kind.name: kind for kind in (
        # -db: in the foreground, without a master process.
        Kind("haproxy", ("haproxy", "-db", "-f", "@"), "haproxy"),
        Kind("nginx", ("nginx", "-c", "@"), "nginx"),
        Kind("hitch", ("hitch", "--config=@"), "hitch"),
        Kind("stunnel", ("stunnel4", "@"), "stunnel"))}
BACKEND = Kind("backend", ("nginx", "-c", "@"), "backend")


def built(what):
    """What cargo builds: --bins or --example=load, in two steps, so that the features that development dependencies
    ask for do not get into lockgate."""
    subprocess.run(["cargo", "build", "--quiet", "--release", what], check=True, cwd=ROOT)
    return ROOT / "target/release" / ("lockgate" if what == "--bins" else "examples/load")


class Failed(Exception):
    """What could not be measured, and why."""


def free_port():
    """Below the range that clients take theirs from: a probe of a port in that range, before
    anybody listens, can connect to itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass  # taken


def certificates(folder):
    """A P-256 CA, a server and a client; server.pem is what haproxy and hitch read."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30",
            "-subj", "/CN=comparison CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name, extensions in {
        "server": "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n",
        "client": "subjectAltName=DNS:client\nextendedKeyUsage=clientAuth\n",
    }.items():
        (folder / f"{name}.ext").write_text(extensions + "basicConstraints=CA:FALSE\n")
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    (folder / "server.pem").write_text(
        (folder / "server.crt").read_text() + (folder / "server.key").read_text())


def pinned(cpu):
    """A machine with one CPU has nothing to choose."""
    return ["taskset", "-c", cpu] if os.cpu_count() > 1 else []


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended just now


class Program:
    """A server in the foreground, pinned to one CPU, stopped at the end of its `with`."""

    def __init__(self, kind, folder, cpu, backend, mutual=False):
        self.name, self.port = kind.name, free_port()
        config = folder / f"{kind.name}.cfg"
        config.write_text(render(CONFIGURATIONS / f"{kind.template}.cfg.in", mutual, {
            "PORT": self.port, "BACKEND": backend, "DIR": folder, **kind.values}))
        command = [part.replace("@", str(config)) for part in kind.command]
        self.log = open(folder / f"{kind.name}.log", "ab")
        self.process = subprocess.Popen(
            [*pinned(cpu), *command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def __enter__(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    raise Failed(f"{self.name} does not listen; see {self.log.name}") from None
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            # It drains, which nobody waits for here: its children first.
            for pid in reversed(machine.tree(self.process.pid)):
                kill(pid)
            self.process.wait()
        self.log.close()

    def cpu_seconds(self):
        return machine.cpu_seconds(self.process.pid)


def render(template, mutual, values):
    """Lines marked @mutual@ are for client certificates only, those marked @plain@ for without,
    those marked @root@ for root."""
    marks = {"@mutual@": mutual, "@plain@": not mutual, "@root@": os.geteuid() == 0}
    text = ""
    for line in template.read_text().splitlines():
        mark = next((mark for mark in marks if line.startswith(mark)), "")
        if marks.get(mark, True):
            text += line.removeprefix(mark) + "\n"
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


class Load:
    """The load generator, connected and ready; `run` starts it."""

    def __init__(self, binary, folder, port, what, *arguments, plain=False, yielding=False):
        trust = ["--plain"] if plain else ["--ca", str(folder / "ca.crt")]
        self.process = subprocess.Popen(
            [*pinned(OTHERS_CPU), *(["chrt", "--idle", "0"] if yielding else []), str(binary), what, f"127.0.0.1:{port}", *trust,
             *map(str, arguments), "--wait", "--json"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        if self.process.stdout.readline().strip() != "READY":
            self.__exit__()
            raise Failed(self.message())
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self):
        self.start()
        return self.result()

    def start(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.message())
        result = json.loads(line)
        counts = result["counts"]
        # A few may fail on a crowded machine; a figure of many failures means nothing.
        if counts["done"] == 0 or counts["failed"] * 100 > counts["done"]:
            raise Failed(f"{counts['done']} done, {counts['failed']} failed: {list(counts['errors'])[:2]}")
        return result

    def message(self):
        lines = [line for line in self.process.stderr.read().splitlines() if line.startswith("load:")]
        return lines[0] if lines else "the load generator ended without a word"
