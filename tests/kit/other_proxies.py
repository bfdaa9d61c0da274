"""Proxies that others wrote, of SOCKS 5, SOCKS 4 and HTTP: microsocks, dante and tinyproxy, each on a free port until the block ends."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kit.origins import Place

USER: Final = "alice"
PASSWORD: Final = "s3cret"
START_SECONDS: Final = 15.0

DANTE: Final = """\
logoutput: {folder}/log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
socksmethod: none
clientmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: bind connect udpassociate bindreply udpreply }}
"""
TINYPROXY: Final = """\
Port {port}
Listen 127.0.0.1
BasicAuth {user} {password}
"""


@contextlib.contextmanager
def microsocks() -> Iterator[str]:
    """Give the URL, with user and password, of a proxy of SOCKS 5."""
    place = _free_place()
    words = "-i", place.host, "-p", str(place.port), "-u", USER, "-P", PASSWORD
    with _running(place, "microsocks", *words):
        yield f"socks5://{USER}:{PASSWORD}@127.0.0.1:{place.port}"


@contextlib.contextmanager
def dante() -> Iterator[Place]:
    """Give the place of a proxy of SOCKS 4 and 5 that wants no password, and has BIND and UDP ASSOCIATE."""
    place = _free_place()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "danted.conf")
        file.write_text(DANTE.format(folder=folder, port=place.port, user=getpass.getuser()))
        with _running(place, "danted", "-f", str(file)):
            yield place


@contextlib.contextmanager
def tinyproxy() -> Iterator[str]:
    """Give the URL, with user and password, of an HTTP proxy."""
    place = _free_place()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tinyproxy.conf")
        file.write_text(TINYPROXY.format(port=place.port, user=USER, password=PASSWORD))
        with _running(place, "tinyproxy", "-d", "-c", str(file)):
            yield f"http://{USER}:{PASSWORD}@127.0.0.1:{place.port}"


def _free_place() -> Place:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Place(host="127.0.0.1", port=server.getsockname()[1])


@contextlib.contextmanager
def _running(place: Place, program: str, *arguments: str) -> Iterator[None]:
    """Run a program until the block ends, which begins once it listens. The test skips where it is not installed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    nowhere = subprocess.DEVNULL
    with subprocess.Popen([path, *arguments], stdin=nowhere, stdout=nowhere, stderr=nowhere) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while True:
                with contextlib.suppress(ConnectionRefusedError), place.connected():
                    break
                assert process.poll() is None, f"{program} ended at once"
                assert time.monotonic() < until, f"{program} does not listen"
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
