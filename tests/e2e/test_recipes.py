"""README's recipes and the first tutorial, run as they are pasted; only hosts and ports are others."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.kit.origins import PAGE, Site, web_site
from tests.kit.proxies import ENVIRONMENT, server
from tests.kit.udp_hosts import free_port

ROOT: Final = Path(__file__).parents[2]
README: Final = "README.md"
TUTORIAL: Final = "docs/tutorial/first-server.md"
PASSWORD: Final = "wonderland"
SERVING: Final = ("server", "client", "forward", "bind")  # they run until they are ended
START_SECONDS: Final = 30.0

pytestmark = pytest.mark.e2e


def commands(document: str) -> list[str]:
    """Return the lines of a document's scripts that run our commands, or curl, without their comments."""
    scripts = re.findall(r"^```sh\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line) for line in "".join(scripts).splitlines()]
    return [line for line in lines if line.startswith(("socks6 ", "curl "))]


def program(document: str) -> str:
    """Return the whole Python program of a document."""
    blocks: list[str] = re.findall(
        r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL
    )
    return next(block for block in blocks if "asyncio.run" in block)


class Terminals:
    """Runs commands in a folder of their own, as somebody who types them; those that serve stay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**ENVIRONMENT, "PATH": binaries, "STATE_DIRECTORY": str(folder / "state")}
        self._running: list[subprocess.Popen[str]] = []
        (folder / "state").mkdir()

    def run(self, line: str) -> str:
        """Run a command to its end, or until it serves; return what it printed."""
        if line.split()[1] not in SERVING or line.startswith("curl"):
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=self.folder,
                env=self._environment,
                input=f"{PASSWORD}\n",
                text=True,
                capture_output=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, (line, done.stderr)
            return done.stdout
        log = self.folder / f"{len(self._running)}.log"
        with log.open("w") as output:
            self._running.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {line}"],
                    cwd=self.folder,
                    env=self._environment,
                    stdout=output,
                    stderr=output,
                    text=True,
                )
            )
        ends = time.monotonic() + START_SECONDS
        while not re.search(r"listening on|published at", log.read_text()):
            assert time.monotonic() < ends, (line, log.read_text())
            assert self._running[-1].poll() is None, (line, log.read_text())
            time.sleep(0.02)
        return log.read_text()

    def close(self) -> None:
        """End what still runs, the last first."""
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait(START_SECONDS)


@contextlib.contextmanager
def terminals(folder: Path) -> Iterator[Terminals]:
    shells = Terminals(folder)
    try:
        yield shells
    finally:
        shells.close()


def stand_ins(site: Site) -> Mapping[str, str]:
    """Return what stands for the hosts of the documents: all is on this machine, at free ports."""
    far, near = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    return {
        "socks6+tls://:8389": f"socks6+tls://127.0.0.1:{far} --allow-private --drain 0.2",
        "share far.example": f"share 127.0.0.1:{far}",
        "socks6 client": f"socks6 client --listen mixed://127.0.0.1:{near} --drain 0.2",
        "127.0.0.1:1080": f"127.0.0.1:{near}",
        "https://example.com/": site.url,
        "8443 example.com:443": f"{free_port(socket.SOCK_STREAM)} localhost:{site.port}",
        "localhost:8080": f"--drain 0.2 localhost:{site.port}",
    }


@pytest.mark.parametrize("document", [README, pytest.param(TUTORIAL, marks=pytest.mark.deep)])
def test_the_commands_do_what_they_should(document: str, tmp_path: Path) -> None:
    with web_site() as site, terminals(tmp_path) as shells:
        replaced = stand_ins(site)
        fetched = 0
        for line in commands(document):
            text = line
            for words, other in replaced.items():
                text = text.replace(words, other)
            said = shells.run(text)
            if line.startswith("curl"):
                assert said == PAGE.decode()
                fetched += 1
            elif "socks6 forward" in line or "socks6 bind" in line:
                place = re.findall(r"(?:listening on|published at) (\S+)", said)[-1]
                assert shells.run(f"curl --silent --show-error http://{place}/") == PAGE.decode()
        assert fetched == 1
        if document == README:
            assert PAGE.decode() in run_program(README, tmp_path, site)


def test_the_program_that_took_the_place_of_pysocks(tmp_path: Path) -> None:
    with server("--user", f"alice:{PASSWORD}") as proxy, web_site() as site:
        url = proxy.as_user("alice", PASSWORD)
        assert PAGE.decode() in run_program("docs/tutorial/from-pysocks.md", tmp_path, site, url)
        wrong = proxy.as_user("alice", "wrong")
        said = run_program("docs/tutorial/from-pysocks.md", tmp_path, site, wrong)
        assert said.startswith("the proxy does not let us in:")


def run_program(document: str, folder: Path, site: Site, url: str = "") -> str:
    """Run the program of a document; return what it printed."""
    code = program(document).replace('"example.com", 80', f'"localhost", {site.port}')
    code = code.replace("socks6://alice:secret@far.example", url)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
