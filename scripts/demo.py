"""Shows the main job end to end: curl, a converter, a SOCKS 6 server and a web site, all on this machine.

`make demo` runs it. Server and converter are the commands that users run, each in a process of its own. The exit
code is 1 if a run of curl ends otherwise than it should.
"""

import hashlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from socks6.compat import override

PAGE: Final = b"<!doctype html><title>It works</title>\n"
LARGE: Final = bytes(range(256)) * 262_144  # 64 MiB
DIGEST: Final = hashlib.sha256(LARGE).hexdigest().encode()
PATIENCE_SECONDS: Final = 20.0
SOCKS_FAILED: Final = 97  # curl's exit code


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of curl: {names} in its arguments stand for places, `body` and `exit_code` are what must come of it."""

    title: str
    arguments: str
    body: bytes = PAGE
    exit_code: int = 0


RUNS: Final = (
    Run(
        title="curl speaks SOCKS 5; the converter carries it to the server over SOCKS 6",
        arguments="--socks5 {converter} http://{site}/",
    ),
    Run(
        title="by name, which only the server looks up",
        arguments="--socks5-hostname {converter} http://localhost:{port}/",
    ),
    Run(title="SOCKS 4a on the same port", arguments="--socks4a {converter} http://localhost:{port}/"),
    Run(
        title="HTTP on the same port: the request for the page travels with the request to connect",
        arguments="--proxy http://{converter} http://{site}/",
    ),
    Run(
        title="64 MiB down, moved by the kernel",
        arguments="--socks5 {converter} http://{site}/large",
        body=LARGE,
    ),
    Run(
        title="64 MiB up; the site answers with their SHA-256",
        arguments="--socks5 {converter} --upload-file {upload} http://{site}/",
        body=DIGEST,
    ),
    Run(
        title="a converter with a wrong password is refused",
        arguments="--socks5 {stranger} http://{site}/",
        body=b"",
        exit_code=SOCKS_FAILED,
    ),
)


class Site(BaseHTTPRequestHandler):
    """A web site: a page, a large file, and the SHA-256 of what is uploaded."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the server's log says who connects."""

    def do_GET(self) -> None:
        """Send the page or the large file."""
        self._answer(LARGE if self.path == "/large" else PAGE)

    def do_PUT(self) -> None:
        """Send the digest of an upload."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(hashlib.sha256(body).hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def web_site() -> Iterator[int]:
    """Serve the site; give its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_address[1]
        site.shutdown()


@contextmanager
def command(log: Path, *words: str, **environment: str) -> Iterator[str]:
    """Run `socks6 WORDS` with its standard error in a file; give the address where it listens."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SOCKS6_")}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "socks6", *words], env={**clean, **environment}, stderr=errors
        )
        try:
            line = wait_for(log, "listening on ")
            yield line.rpartition("://")[2]
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def wait_for(log: Path, words: str, after: int = 0) -> str:
    """Return the first line of a log, after so many characters, that has some words in it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        whole = log.read_text()[after:].rpartition("\n")[0]
        if found := next((line for line in whole.splitlines() if words in line), None):
            return found
        time.sleep(0.02)
    raise TimeoutError(f"{words!r} does not come: {log.read_text()}")


def show(run: Run, places: dict[str, str], log: Path) -> bool:
    """Run curl, print what comes of it and what the server logs; return whether it is as it should be."""
    words = run.arguments.format_map(places).split()
    print(f"\n{run.title}\n   $ curl {shlex.join(words)}", flush=True)
    logged = len(log.read_text())
    started = time.monotonic()
    done = subprocess.run(
        ["curl", "-q", "-sS", "--max-time", "60", *words],
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        capture_output=True,
        check=False,
    )
    seconds = time.monotonic() - started
    print(f"   exit code {done.returncode}, {len(done.stdout)} bytes in {seconds * 1000:.0f} ms")
    if done.stderr:
        print(f"   {done.stderr.decode().strip()}")
    else:
        print(f"   server: {wait_for(log, ' INFO ', logged).partition(' INFO ')[2]}")
    right = done.returncode == run.exit_code and done.stdout == run.body
    if not right:
        print(f"   NOT AS IT SHOULD BE: exit code {run.exit_code}, {len(run.body)} bytes")
    return right


def main() -> int:
    """Show every run; return the exit code."""
    if shutil.which("curl") is None:
        print("demo: curl is needed, which is not installed", file=sys.stderr)
        return 1
    password = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory(prefix="socks6-demo-") as name:
        folder = Path(name)
        (folder / "upload").write_bytes(LARGE)
        log = folder / "server.log"
        with (
            web_site() as port,
            command(
                log,
                *("server", "--listen", "socks6://127.0.0.1:0", "-v", "--log-destinations"),
                SOCKS6_USERS=f"demo:{password}",
            ) as server,
            command(
                folder / "converter.log",
                *("client", "--listen", "mixed://127.0.0.1:0"),
                SOCKS6_PROXY=f"socks6://demo:{password}@{server}",
            ) as converter,
            command(
                folder / "stranger.log",
                *("client", "--listen", "mixed://127.0.0.1:0"),
                SOCKS6_PROXY=f"socks6://demo:wrong{password}@{server}",
            ) as stranger,
        ):
            places = {
                "site": f"127.0.0.1:{port}",
                "port": str(port),
                "upload": str(folder / "upload"),
                "converter": converter,
                "stranger": stranger,
            }
            print(
                f"web site   http://{places['site']}/",
                f"server     socks6://{server}, for the user demo with a password made up for this run",
                f"converter  mixed://{converter}, which goes out through the server as that user",
                f"stranger   mixed://{stranger}, the same with a wrong password",
                sep="\n",
            )
            right = sum(show(run, places, log) for run in RUNS)
    print(f"\n{right} of {len(RUNS)} as they should be")
    return 0 if right == len(RUNS) else 1


if __name__ == "__main__":
    sys.exit(main())
