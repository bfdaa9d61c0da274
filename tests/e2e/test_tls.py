"""TLS as operators and users meet it: real processes, curl, openssl."""

import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kit.certificates import Files, pin_of_file, write_certificate
from tests.kit.origins import PAGE, checksum, tcp_host, web_site
from tests.kit.processes import Ended, socks6
from tests.kit.proxies import (
    CONNECTED,
    Proxy,
    connect_request,
    converter,
    curl,
    curl_line,
    proxy,
    receive_exactly,
    server,
)

pytestmark = pytest.mark.e2e

SIZE: Final = 64 << 20
NOOP: Final = bytes.fromhex("06 00 0000 0000 00 01 00000000")
DONE: Final = bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_certificate(tmp_path)


@contextlib.contextmanager
def encrypted(files: Files, *more: str, query: str = "", scheme: str = "socks6") -> Iterator[Proxy]:
    """Run a server with TLS."""
    listen = f"{scheme}+tls://127.0.0.1:0?{files.listener_query}{query}"
    with server("--listen", listen, "-v", *more) as running:
        yield running


def pinged(url: str) -> Ended:
    return socks6("ping", "-c", "1", url)


def s_client(
    running: Proxy, files: Files, *more: str, typed: bytes = NOOP
) -> "subprocess.CompletedProcess[bytes]":
    """Run `openssl s_client` to its end, which the server makes."""
    line = [
        "openssl",
        "s_client",
        "-connect",
        running.authority,
        "-CAfile",
        files.ca,
        "-servername",
        "localhost",
    ]
    return subprocess.run([*line, *more], input=typed, capture_output=True, timeout=20, check=False)


def test_openssl_speaks_socks_6_by_hand(files: Files) -> None:
    with encrypted(files) as running:
        spoken = s_client(running, files, "-quiet", "-alpn", "socks6", "-verify_return_error")
    assert spoken.stdout == DONE, spoken.stderr
    assert spoken.returncode == 0


def test_openssl_need_not_say_what_it_speaks_but_may_not_say_otherwise(files: Files) -> None:
    with encrypted(files) as running:
        assert s_client(running, files, "-quiet").stdout == DONE
        assert s_client(running, files, "-quiet", "-alpn", "h2,socks6").stdout == DONE
        assert s_client(running, files, "-quiet", "-alpn", "h2").stdout == b""


def test_openssl_resumes_with_a_ticket(files: Files, tmp_path: Path) -> None:
    kept = str(tmp_path / "session")
    alpn = ("-alpn", "socks6", "-ign_eof")
    with encrypted(files) as running:
        first = s_client(running, files, *alpn, "-sess_out", kept)
        second = s_client(running, files, *alpn, "-sess_in", kept)
    assert b"New, TLSv1.3" in first.stdout
    assert b"Reused, TLSv1.3" in second.stdout
    assert b"Max Early Data: 0" in first.stdout


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tls_1_2_is_spoken_where_it_is_allowed(files: Files, version: str) -> None:
    with encrypted(files, "--tls-min-version", "1.2") as running:
        assert s_client(running, files, "-quiet", "-alpn", "socks6", version).stdout == DONE
    with encrypted(files) as running:
        assert (s_client(running, files, "-quiet", "-alpn", "socks6", version).stdout == DONE) is (
            version == "-tls1_3"
        )


def test_a_file_arrives_whole_through_converter_and_server(files: Files) -> None:
    with (
        web_site() as site,
        encrypted(files) as last,
        converter(f"{last.url}?pin-sha256={pin_of_file(files.certificate)}") as first,
    ):
        line = curl_line("--socks5-hostname", first.authority, f"{site.url}/big/{SIZE}")
        with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            digest = hashlib.sha256()
            while piece := process.stdout.read(1 << 20):
                digest.update(piece)
        assert digest.hexdigest() == checksum(SIZE)
        sent = curl("--socks5-hostname", first.authority, "-T", files.certificate, f"{site.url}/x").body
        assert sent.decode() == hashlib.sha256(Path(files.certificate).read_bytes()).hexdigest()


WRONG: Final = (
    ("", "unable to get local issuer certificate"),
    ("?pin-sha256=" + "A" * 43, "the proxy's key is not the one of the pin"),
    ("?ca={ca}&sni=other.example", "Hostname mismatch"),
)


@pytest.mark.parametrize(("query", "complaint"), WRONG)
def test_a_proxy_that_is_not_the_one_asked_for(files: Files, query: str, complaint: str) -> None:
    with encrypted(files) as running:
        ended = pinged(running.url + query.format(ca=files.ca))
    assert ended.code == 1
    assert complaint in ended.output.decode()
    assert not any("command=NOOP" in line for line in running.said)


def test_certificates_know_absolute_names_without_the_dot(files: Files) -> None:
    with encrypted(files) as running:
        assert pinged(f"{running.url}?ca={files.ca}&sni=localhost.").code == 0


def test_an_expired_certificate(tmp_path: Path) -> None:
    expired = write_certificate(tmp_path, expired=True)
    with encrypted(expired) as running:
        assert b"certificate has expired" in pinged(f"{running.url}?ca={expired.ca}").output


def test_wrong_places(files: Files) -> None:
    with server() as clear:
        there = pinged(clear.url.replace("socks6:", "socks6+tls:") + f"?ca={files.ca}")
        assert b"the peer does not speak TLS here: socks6:// instead of socks6+tls://?" in there.output
    with encrypted(files, scheme="http") as other:
        there = pinged(other.url.replace("http+", "socks6+") + f"?ca={files.ca}")
        assert b"no socks6 (ALPN)" in there.output
    with encrypted(files) as running:
        assert pinged(running.url.replace("+tls", "")).code == 1


def test_users_by_certificate(files: Files, tmp_path: Path) -> None:
    user = write_certificate(tmp_path, "alice@example.com", stem="user")
    stranger = write_certificate(tmp_path, "bob@example.com", stem="stranger", issuer="other")
    with encrypted(files, "--user", "carol:123456", query=f"&client-ca={files.ca}") as running:
        url = f"{running.url}?ca={files.ca}"
        assert pinged(f"{url}&cert={user.certificate}&key={user.key}").code == 0
        without = pinged(url.replace("://", "://carol:123456@"))
        assert b"the peer wants a client certificate" in without.output
        unknown = pinged(f"{url}&cert={stranger.certificate}&key={stranger.key}")
        assert b"does not know who issued our certificate" in unknown.output
    assert [line for line in running.said if "user=alice@example.com" in line and "command=NOOP" in line]
    refusals = [line for line in running.said if "authentication failed" in line]
    assert len(refusals) == 2


def test_curl_speaks_to_an_encrypted_http_proxy(files: Files) -> None:
    with web_site() as site, encrypted(files, scheme="http") as running:
        fetched = curl("--proxy", f"https://{running.authority}", "--proxy-cacert", files.ca, site.url)
        assert fetched.body == PAGE, fetched
        tunnelled = curl(
            "--proxy", f"https://{running.authority}", "--proxy-cacert", files.ca, "-p", site.url
        )
        assert tunnelled.body == PAGE, tunnelled


def test_a_new_certificate_is_taken_while_a_download_runs(files: Files, tmp_path: Path) -> None:
    def slow(connection: socket.socket) -> None:
        for _ in range(2):
            connection.sendall(b"half")
            connection.recv(1)

    with tcp_host(slow) as place, encrypted(files) as running, connected(running, files) as stream:
        stream.sendall(connect_request(place))
        receive_exactly(stream, len(CONNECTED) + 8)
        assert receive_exactly(stream, 4) == b"half"
        first = pin_of_file(files.certificate)
        assert pinged(f"{running.url}?pin-sha256={first}").code == 0
        write_certificate(tmp_path, stem="new")
        os.replace(tmp_path / "new.pem", files.certificate)
        os.replace(tmp_path / "new.key", files.key)
        time.sleep(1.1)  # it looks once a second
        second = pin_of_file(files.certificate)
        assert second != first
        assert pinged(f"{running.url}?pin-sha256={second}").code == 0
        assert b"not the one of the pin" in pinged(f"{running.url}?pin-sha256={first}").output
        stream.sendall(b"!")
        assert receive_exactly(stream, 4) == b"half"
    said = [line for line in running.said if "certificate" in line]
    assert ["read anew" in line for line in said] == [True], said


@contextlib.contextmanager
def connected(running: Proxy, files: Files) -> Iterator[ssl.SSLSocket]:
    """Give a connection of Python's own TLS."""
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(["socks6"])
    with running.place.connected() as raw, context.wrap_socket(raw, server_hostname="localhost") as stream:
        yield stream


def test_a_server_makes_its_own_certificate_and_a_client_takes_what_share_prints(tmp_path: Path) -> None:
    environment = {"STATE_DIRECTORY": str(tmp_path / "state")}
    listen = ("--listen", "socks6+tls://127.0.0.1:0", "--user", "alice:secret")
    with web_site() as site, server(*listen, environment=environment) as running:
        shared = socks6(
            *("share", running.authority, "--user", "alice", "--password", "--no-qr"),
            typed=b"secret\n",
            environment=environment,
        )
        url = shared.output.decode().strip()
        assert url.startswith(f"socks6+tls://alice:secret@{running.authority}?pin-sha256=")
        assert pinged(url).code == 0
        with taking(url) as first:
            assert curl("--socks5-hostname", first, site.url).body == PAGE
    key = tmp_path / "state" / "certificate.key"
    assert key.stat().st_mode & 0o777 == 0o600


@contextlib.contextmanager
def taking(url: str) -> Iterator[str]:
    """Run `socks6 client URL`; give where it listens."""
    with proxy("client", url) as running:
        yield running.authority
