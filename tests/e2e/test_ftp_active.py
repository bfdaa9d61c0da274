"""FTP in active mode: the server connects back to a port that its client has at the proxy (BIND).

The client is curl, which knows no BIND; Dante's socksify makes its listening at home a SOCKS 5 BIND. The
converter carries that on as a SOCKS 6 BIND.
"""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kit.footprint import eventually
from tests.kit.netns import road
from tests.kit.origins import Place
from tests.kit.proxies import ENVIRONMENT, converter, curl_line, server

# More than all buffers on the way: curl fails if it hears of the end before it has seen the beginning.
BLOB: Final = bytes(range(256)) * 65536
SETTINGS: Final = """\
logoutput: {folder}/client.log
resolveprotocol: fake
route {{
    from: 0.0.0.0/0 to: 0.0.0.0/0 via: {place.host} port = {place.port}
    proxyprotocol: socks_v5
    command: connect bind
    method: none
}}
"""

pytestmark = pytest.mark.e2e


@contextlib.contextmanager
def ftp_server(folder: Path, host: str = "127.0.0.1") -> Iterator[Place]:
    """Run an FTP server that gives and takes the files of a folder."""
    line = [sys.executable, "-m", "pyftpdlib", "-i", host, "-p", "0", "-w", "-d", str(folder)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for text in process.stderr:
                if found := re.search(rf"starting FTP server on {re.escape(host)}:(\d+)", text):
                    yield Place(host=host, port=int(found[1]))
                    break
            else:
                raise AssertionError("no FTP server")
        finally:
            process.kill()


def active_ftp(folder: Path, through: Place, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run curl as a client of active FTP whose sockets are those of a SOCKS 5 proxy."""
    if shutil.which("socksify") is None:
        pytest.skip("socksify is not installed (dante-client)")
    settings = folder / "socks.conf"
    settings.write_text(SETTINGS.format(folder=folder, place=through))
    return subprocess.run(
        ["socksify", *curl_line("--ftp-port", "-", *arguments)],
        env={**ENVIRONMENT, "SOCKS_CONF": str(settings)},
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_files_come_and_go(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "blob").write_bytes(BLOB)
    (tmp_path / "upload").write_bytes(BLOB[::-1])
    with ftp_server(files) as ftp, server("-v") as proxy, converter(proxy.url, "-v") as near:
        url = f"ftp://{ftp.host}:{ftp.port}"
        fetched = active_ftp(tmp_path, near.place, f"{url}/blob")
        assert fetched.returncode == 0, (fetched.stderr, proxy.said, near.said)
        assert fetched.stdout == BLOB
        sent = active_ftp(tmp_path, near.place, "--upload-file", str(tmp_path / "upload"), f"{url}/new")
        assert sent.returncode == 0, (sent.stderr, proxy.said, near.said)
        assert (files / "new").read_bytes() == BLOB[::-1]
    carried = [line for line in proxy.said if "command=BIND" in line and "reply=0" in line]
    assert len(carried) == 2, proxy.said


def test_between_networks_the_server_knows_nobody_but_the_proxy(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "blob").write_bytes(BLOB)
    with road(routers=1) as hosts, contextlib.ExitStack() as running:
        client, router, far = hosts
        proxy_host, ftp_host = hosts.address(1), hosts.last_address()
        with far.entered():
            ftp = running.enter_context(ftp_server(files, ftp_host))
        with router.entered():
            place = f"socks6://{proxy_host}:0"
            proxy = running.enter_context(
                server("--listen", place, "--open", "--allow-private", "-v", "--log-destinations")
            )
        with client.entered():
            near = running.enter_context(converter(proxy.url))
            fetched = active_ftp(tmp_path, near.place, f"ftp://{ftp.host}:{ftp.port}/blob")
        assert fetched.returncode == 0, (fetched.stderr, proxy.said, near.said)
        assert fetched.stdout == BLOB
        assert eventually(lambda: len(proxy.said) == 2)  # what is said over the one, and comes over the other
        assert any("command=CONNECT" in line for line in proxy.said)
        assert any("command=BIND" in line and f"peer={ftp.host}:" in line for line in proxy.said)
