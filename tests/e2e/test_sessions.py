"""Sessions between converters, clients and servers, as processes, seen on the wire."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from socks6.client.client import Client
from tests.kit.capture import Recording, capture, recording_relay
from tests.kit.footprint import eventually
from tests.kit.loops import Run
from tests.kit.netns import Road, needs_namespaces, road
from tests.kit.origins import PAGE, Site, tcp_host, web_site
from tests.kit.proxies import Proxy, converter, curl, receive_exactly, server

PASSWORD: Final = b"correct-horse"
GUARDED: Final = ("--user", f"alice:{PASSWORD.decode()}")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with web_site() as running:
        yield running


@contextmanager
def recorded(*flags: str) -> Iterator[tuple[Recording, Proxy]]:
    """Give a converter, and what goes between it and its server."""
    with server(*GUARDED) as far, recording_relay(far.place.host, far.place.port) as recording:
        via = f"socks6://alice:{PASSWORD.decode()}@{recording.place.host}:{recording.place.port}"
        with converter(via, *flags) as near:
            yield recording, near


def passwords(recording: Recording) -> list[bool]:
    """Return for each request whether the password was in it."""
    return [PASSWORD in data for data in recording.sent if data.startswith(b"\6\1")]


@pytest.mark.parametrize("way", ["socks5h", "http"])
def test_the_password_crosses_the_wire_once(site: Site, way: str) -> None:
    with recorded() as (recording, near):
        for _ in range(3):
            assert curl("--proxy", near.url.replace("mixed", way), site.url).body == PAGE
        assert passwords(recording) == [True, False, False]
    assert sum(PASSWORD in data for data in recording.sent) == 1  # nor when the session is torn down


def test_the_password_is_in_no_later_segment(site: Site) -> None:
    with (
        server(*GUARDED) as far,
        capture(far.place) as recording,
        converter(far.as_user("alice", PASSWORD.decode())) as near,
    ):
        for _ in range(3):
            assert curl("--proxy", near.url.replace("mixed", "socks5h"), site.url).body == PAGE
    assert passwords(recording) == [True, False, False]


def test_sessions_may_be_switched_off(site: Site) -> None:
    with recorded("--no-via-session") as (recording, near):
        for _ in range(2):
            assert curl("--proxy", near.url.replace("mixed", "socks5h"), site.url).body == PAGE
        assert passwords(recording) == [True, True]


def test_a_server_that_was_restarted_gets_the_password_again(site: Site) -> None:
    with server(*GUARDED) as far:
        listen = ("--listen", far.url)
        with converter(far.as_user("alice", PASSWORD.decode())) as near:
            fetch = ("--proxy", near.url.replace("mixed", "socks5h"), site.url)
            assert curl(*fetch).body == PAGE
            assert curl(*fetch).body == PAGE
            far.process.terminate()
            far.process.wait(10)
            with server(*GUARDED, *listen):
                for _ in range(3):
                    assert curl(*fetch).body == PAGE


@pytest.mark.parametrize("way", ["socks5h", "socks4a", "http"])
def test_the_optimistic_mode_sends_first_bytes_with_the_request(site: Site, way: str) -> None:
    with recorded("--optimistic") as (recording, near):
        for _ in range(2):
            proxy = ("--proxytunnel", "--proxy") if way == "http" else ("--proxy",)
            assert curl(*proxy, near.url.replace("mixed", way), site.url).body == PAGE
        requests = [data for data in recording.sent if data.startswith(b"\6\1")]
        assert len(requests) == 2
        assert all(data.count(b"GET / HTTP") == 1 for data in requests)


def test_in_optimistic_mode_a_server_may_speak_first() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 hello")
        assert connection.recv(100) == b"bye"

    with recorded("--optimistic") as (_, near), tcp_host(greet) as host, near.place.connected() as sock:
        sock.sendall(bytes.fromhex("05 01 00  05 01 00 01 7f000001") + host.port.to_bytes(2, "big"))
        assert receive_exactly(sock, 12) == bytes.fromhex("05 00  05 00 00 01 00000000 0000")
        assert receive_exactly(sock, 9) == b"220 hello"
        sock.sendall(b"bye")


def test_in_optimistic_mode_a_client_is_reset_when_nobody_is_there(site: Site) -> None:
    with recorded("--optimistic") as (_, near):
        fetched = curl("--proxy", near.url.replace("mixed", "socks5h"), "http://127.0.0.1:1/")
    assert re.search("reset", fetched.complaint, re.IGNORECASE), fetched.complaint


@pytest.fixture
def two() -> Iterator[Road]:
    with road() as made:
        made.first.set("net.ipv4.tcp_fastopen", 3)
        yield made


@needs_namespaces
def test_request_and_initial_data_travel_in_the_syn_with_a_token_alone(run: Run, two: Road) -> None:
    host = two.first
    data = b"GET / HTTP/1.0\r\n\r\n"

    async def play(url: str, site: Site) -> None:
        async with Client(url, fast_open=True) as client:
            await client.noop()  # fetches the cookie, and opens the session
            for idempotent in (False, True, True):
                stream = await client.connect(site.host, site.port, initial_data=data, idempotent=idempotent)
                answer = b""
                while piece := await stream.receive():
                    answer += piece
                assert answer.endswith(PAGE)
                stream.abort()

    with (
        host.entered(),
        web_site() as site,
        server(*GUARDED, "--fast-open", "16") as far,
        host.capturing("lo") as seen,
    ):
        run(play(far.as_user("alice", PASSWORD.decode()), site))
        payloads = [syn.payload for syn in seen.syns(far.place.port)][::2]  # lo shows each twice
    in_syns = [payload.endswith(data) and payload.startswith(b"\6\1") for payload in payloads]
    assert in_syns == [False, False, True, True, False]  # the last one tears the session down
    assert not any(PASSWORD in payload for payload in payloads)
    assert len(site.seen) == 3


@needs_namespaces
def test_a_converter_puts_what_its_client_said_into_the_syn(two: Road) -> None:
    host = two.first
    with (
        host.entered(),
        web_site() as site,
        server(*GUARDED, "--fast-open", "16") as far,
        host.capturing("lo") as seen,
        converter(far.as_user("alice", PASSWORD.decode()), "--via-fast-open") as near,
    ):
        assert eventually(lambda: host.counter("TCPFastOpenCookieReqd") == 1)
        for _ in range(2):
            assert curl("--proxy", near.url.replace("mixed", "http"), site.url).body == PAGE
        payloads = [syn.payload for syn in seen.syns(far.place.port)][::2]  # lo shows each twice
    assert [payload.count(b"GET / HTTP") for payload in payloads[:3]] == [0, 1, 1]
    assert len(site.seen) == 2
