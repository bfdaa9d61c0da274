"""Users that a command, an HTTP service or PAM knows, with curl as the client."""

import contextlib
import functools
import io
import os
import queue
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from socks6.compat import override
from tests.kit.certificates import write_certificate
from tests.kit.footprint import eventually
from tests.kit.origins import Site, web_site
from tests.kit.proxies import LISTENING, Proxy, curl, server

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
MIXED: Final = ("--listen", "mixed://127.0.0.1:0", "-v")

pytestmark = pytest.mark.e2e

PROGRAM: Final = """
import json, os, sys, time
with open(sys.argv[1], "a") as pids: print(os.getpid(), file=pids)
for line in sys.stdin:
    question = json.loads(line)
    if question["name"] == "hang": time.sleep(60)
    ok = question["password"] == "right" and "lie"
    if question["name"] == "alice": ok = question["password"] == "right"
    print(json.dumps({"id": question["id"], "ok": ok, "user": "al"}), flush=True)
"""


def fetch(authority: str, site: Site, name: str, password: str = "right") -> bool:
    """Return whether curl gets the page as that user."""
    fetched = curl("--proxy", f"socks5h://{name}:{password}@{authority}", f"http://{site.host}:{site.port}/")
    return fetched.status == 200


def told(proxy: Proxy, words: str) -> bool:
    return any(words in line for line in proxy.said)


def test_a_command_that_is_killed_hangs_and_lies(tmp_path: Path) -> None:
    program, pids = tmp_path / "program.py", tmp_path / "pids"
    program.write_text(PROGRAM)
    command = f"{sys.executable} -I -S {program} {pids}"
    arguments = ("--auth-command", command, "--auth-timeout", "0.5", "--auth-cache", "0", "--user", "bob:b")
    with web_site() as site, server(*MIXED, *arguments) as proxy:
        assert fetch(proxy.authority, site, "alice")
        assert eventually(lambda: told(proxy, "user=al "))
        assert not fetch(proxy.authority, site, "alice", "wrong")
        proxy.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: told(proxy, "reloaded"))
        assert fetch(proxy.authority, site, "alice")
        assert len(pids.read_text().split()) == 1  # a reload keeps it
        os.kill(int(pids.read_text()), signal.SIGKILL)
        assert eventually(lambda: told(proxy, "killed by signal 9"))
        assert fetch(proxy.authority, site, "bob", "b")
        assert fetch(proxy.authority, site, "alice")
        assert eventually(lambda: told(proxy, "authenticator up"))
        for name, words in (("hang", "it hangs"), ("liar", "ok is neither true nor false")):
            assert not fetch(proxy.authority, site, name)
            assert eventually(functools.partial(told, proxy, words))
            assert fetch(proxy.authority, site, "alice")
        assert sum("authenticator down" in line for line in proxy.said) == 3
    last = pids.read_text().split()[-1]
    assert eventually(lambda: not Path("/proc", last).exists())  # it ends with the server


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        right = b'"password": "right"' in body
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ok": true}' if right else b'{"ok": false}')

    @override
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def auth_service(folder: Path) -> Iterator[tuple[str, str]]:
    """Run an HTTPS service whose certificate no root of the system has signed; yield its URL and its authority's file."""
    files = write_certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    service = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    service.socket = context.wrap_socket(service.socket, server_side=True)
    service.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that do not like its certificate
    thread = threading.Thread(target=service.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{service.server_port}/check", files.ca
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_an_https_service_is_trusted_only_by_its_certificate(tmp_path: Path) -> None:
    with auth_service(tmp_path) as (url, ca), web_site() as site:
        with server(*MIXED, "--auth-url", url, "--auth-ca", ca) as proxy:
            assert fetch(proxy.authority, site, "alice")
            assert not fetch(proxy.authority, site, "alice", "wrong")
        with server(*MIXED, "--auth-url", url) as proxy:
            assert not fetch(proxy.authority, site, "alice")
            assert eventually(lambda: told(proxy, "authenticator down authenticator=url"))
            assert told(proxy, "certificate")


INSIDE: Final = """
mount --bind "$1/pam.d" /etc/pam.d && mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/shadow" /etc/shadow
shift; exec "$@"
"""


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="only root has an /etc of its own"
)
@pytest.mark.skipif(not list(Path("/usr/lib").glob("*/security/pam_unix.so")), reason="there is no pam_unix")
def test_pam_unix_knows_the_systems_users(tmp_path: Path) -> None:
    (tmp_path / "pam.d").mkdir()
    (tmp_path / "pam.d" / "socks6").write_text(
        "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"
    )
    users = "root:x:0:0::/root:/bin/sh\n" + "".join(
        f"{name}:x:{uid}:{uid}::/:/bin/false\n" for name, uid in (("alice", 3001), ("expired", 3002))
    )
    (tmp_path / "passwd").write_text(users)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "right"], capture_output=True, text=True, check=True
    ).stdout
    shadow = tmp_path / "shadow"
    shadow.write_text(f"alice:{hashed.strip()}:19000::::::\nexpired:{hashed.strip()}:19000:::::1:\n")
    shadow.chmod(0o600)
    words = [sys.executable, "-m", "socks6", "server", *MIXED, "--auth-pam", "socks6"]
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", INSIDE, "sh", str(tmp_path), *words], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read(stream: io.TextIOWrapper) -> None:
        for line in stream:
            lines.put(line)

    with web_site() as site, io.TextIOWrapper(process.stderr, "utf-8") as stream:
        reader = threading.Thread(target=read, args=(stream,))
        reader.start()
        try:
            found = LISTENING.search(lines.get(timeout=30))
            assert found is not None
            authority = found[1].rpartition("/")[2]
            assert fetch(authority, site, "alice")
            assert fetch(authority, site, "alice")  # remembered
            for name, password in (("alice", "wrong"), ("expired", "right"), ("nobody", "right")):
                assert not fetch(authority, site, name, password)
        finally:
            process.terminate()
            process.wait(10)
            reader.join()
    said = [lines.get() for _ in range(lines.qsize())]
    assert not [line for line in said if "authenticator down" in line]
    assert sum("authentication failed" in line for line in said) == 3
