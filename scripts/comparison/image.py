"""The file system of the guest: the programs that take part with their libraries, as an initramfs."""

import json
import pathlib
import shutil
import subprocess

from .programs import ROOT

SYSTEM = ["haproxy", "nginx", "hitch", "stunnel4"]
PYTHON = pathlib.Path("/usr/bin/python3")
NGINX_STREAM = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
# What programs look into before their configuration says otherwise.
FILES = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/usr/lib/ssl/openssl.cnf"]
FOLDERS = ["dev", "proc", "sys", "tmp", "run", "var/log/nginx", "var/lib/nginx", "root"]
# Of Python's library; the rest is not needed in there.
WITHOUT = ["test", "idlelib", "lib2to3", "ensurepip", "dist-packages", "config-*", "pydoc_data", "distutils"]

INIT = f"""#!{PYTHON} -IB
import sys
sys.path.insert(0, "{ROOT}/scripts")
from comparison.inside import main
main()
"""


class Image:
    """A folder that becomes the guest's root."""

    def __init__(self, folder):
        self.root = folder / "root"
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        self.seen = set()

    def add(self, source, target=None):
        """A file, with the libraries that it is linked to."""
        source = pathlib.Path(source)
        target = self.root / str(target or source).lstrip("/")
        if target in self.seen or not source.exists():
            return
        self.seen.add(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        with open(source, "rb") as file:
            if file.read(4) == b"\x7fELF":
                for library in libraries(source):
                    self.add(library)

    def add_folder(self, source, without=()):
        target = self.root / str(source).lstrip("/")
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without), dirs_exist_ok=True)

    def write(self, path):
        files = subprocess.run(["find", ".", "-print0"], cwd=self.root, check=True, capture_output=True).stdout
        with open(path, "wb") as out:
            subprocess.run(["cpio", "--null", "--create", "--format=newc", "--quiet", "--owner=0:0"],
                           cwd=self.root, check=True, input=files, stdout=out)
        shutil.rmtree(self.root)


def libraries(program):
    """As the loader finds them on this machine."""
    result = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    for line in result.stdout.splitlines():
        path = next((word for word in line.split() if word.startswith("/")), None)
        if path:
            yield path


def build(folder, programs, modules, settings):
    """`programs`: where each goes, and which file it is."""
    image = Image(folder)
    for name in SYSTEM:
        image.add(shutil.which(name))
    image.add(NGINX_STREAM)
    for path in FILES:
        image.add(path)
    image.add(PYTHON)
    library = python_library()
    image.add_folder(library, WITHOUT)
    for extension in (library / "lib-dynload").glob("*.so"):
        for path in libraries(extension):
            image.add(path)
    for part in ("comparison", "peers"):
        image.add_folder(ROOT / "scripts" / part, ["__pycache__"])
    if settings["samples"]:
        image.add(shutil.which("perf"))
    for target, binary in programs.items():
        image.add(binary, target)
    for module in sorted(modules.iterdir()):
        image.add(module, f"/modules/{module.name}")
    image.add_folder(folder / "bench")
    (image.root / "settings.json").write_text(json.dumps(settings))
    init = image.root / "init"
    init.write_text(INIT)
    init.chmod(0o755)
    image.write(folder / "initramfs")


def python_library():
    asked = subprocess.run([PYTHON, "-Ic", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
                           capture_output=True, text=True, check=True)
    return pathlib.Path(asked.stdout.strip())
