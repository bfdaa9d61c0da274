"""Hosts that die, vanish or stand still: who is joined to them learns it, and nobody else suffers."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pytest

from socks6.client.client import Client
from socks6.errors import ConnectionTimedOut
from socks6.net.direct import DirectOutbound
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.footprint import eventually
from tests.kit.loops import Run
from tests.kit.origins import PAGE, Place, Site, big_file, echo, silent_place, tcp_host, web_site
from tests.kit.proxies import Proxy, connect_request, converter, curl, proxy, server, tunnel
from tests.kit.unharmed import processor_seconds, read_to_the_end, reset, unharmed, warm_up

AT_ONCE: Final = 3.0  # seconds that "at once" may take on a busy machine
CONNECTING: Final = 1.0
FIRST_DATA: Final = b"the first data"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with web_site() as running:
        yield running


@pytest.fixture(scope="module")
def mixed() -> Iterator[Proxy]:
    """Give a server that speaks everything and soon gives up connecting."""
    with server("--listen", "mixed://127.0.0.1:0", "--connect-timeout", str(CONNECTING)) as running:
        warm_up(running)
        yield running


# Upstreams.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_clients_learn_at_once_that_the_upstream_is_gone(number: int) -> None:
    with (
        echo() as place,
        proxy("server", ends_with=-number if number == signal.SIGKILL else 0) as far,
        converter(far.url) as near,
        contextlib.ExitStack() as held,
    ):
        before = near.footprint
        clients = [held.enter_context(tunnel(near.place, place)) for _ in range(20)]
        far.process.send_signal(number)
        began = time.monotonic()
        assert [read_to_the_end(client) for client in clients] == 20 * [b""]
        assert time.monotonic() - began < AT_ONCE
        far.process.wait()
        held.close()
        assert eventually(lambda: near.footprint.descriptors <= before.descriptors + 1)


def test_a_converter_goes_on_when_its_upstream_is_back(site: Site) -> None:
    with proxy("server", ends_with=-signal.SIGKILL) as first, converter(first.url) as near:
        assert curl("--socks5", near.authority, site.url).body == PAGE
        first.process.kill()
        first.process.wait()
        assert "(1)" in curl("--socks5", near.authority, site.url).complaint
        assert curl("--proxy", f"http://{near.authority}", site.url).status == 502
        with server("--listen", first.url):
            assert curl("--socks5", near.authority, site.url).body == PAGE


@pytest.mark.parametrize("way", ["--socks4", "--socks5", "--proxy"])
def test_an_upstream_that_accepts_nobody_is_given_up(way: str) -> None:
    patience = ["--connect-timeout", str(CONNECTING)]
    with silent_place() as still, converter(f"socks6://{still.host}:{still.port}", *patience) as near:
        began = time.monotonic()
        fetched = curl(way, near.authority, "http://127.0.0.1:1/")
        assert fetched.code or fetched.status in {502, 504}, fetched
        assert CONNECTING <= time.monotonic() - began < CONNECTING + AT_ONCE


def test_an_upstream_that_says_nothing_is_given_up() -> None:
    patience = ["--connect-timeout", str(CONNECTING)]
    with tcp_host(hold) as mute, converter(f"socks6://{mute.host}:{mute.port}", *patience) as near:
        assert curl("--proxy", near.authority, "http://127.0.0.1:1/").status in {502, 504}


def test_what_stands_still_for_a_while_goes_on_where_it_was() -> None:
    size = 32 * 2**20
    with server() as far, converter(far.url) as near, web_site() as site:
        with tunnel(near.place, Place(host=site.host, port=site.port)) as sock:
            sock.sendall(f"GET /big/{size} HTTP/1.0\r\n\r\n".encode())
            got = sock.recv(1000)
            for running in (far, near, far):
                running.process.send_signal(signal.SIGSTOP)
                time.sleep(0.1)
                running.process.send_signal(signal.SIGCONT)
            got += read_to_the_end(sock)
        assert got.partition(b"\r\n\r\n")[2] == b"".join(big_file(size))


def test_a_client_that_stands_still_costs_no_memory() -> None:
    size = 64 * 2**20
    with server() as far, web_site() as site:
        before = far.footprint.memory
        with tunnel(far.place, Place(host=site.host, port=site.port)) as sock:
            sock.sendall(f"GET /big/{size} HTTP/1.0\r\n\r\n".encode())
            time.sleep(0.5)
            assert far.footprint.memory < before + 4 * 2**20
            assert len(read_to_the_end(sock)) > size


def hold(sock: socket.socket) -> None:
    """Take what comes and say nothing."""
    while sock.recv(1000):
        pass


# Descriptors.


def test_a_server_without_descriptors_waits_for_some_and_goes_on() -> None:
    with server(descriptors=64) as far, echo() as place, contextlib.ExitStack() as held:
        before = far.footprint
        first = held.enter_context(tunnel(far.place, place))
        crowd = [held.enter_context(far.place.connected()) for _ in range(100)]
        assert eventually(lambda: any("accept paused" in line for line in far.said))
        used = processor_seconds(far)
        time.sleep(0.5)
        assert processor_seconds(far) - used < 0.2  # it does not try again and again
        first.sendall(FIRST_DATA)
        assert first.recv(100) == FIRST_DATA  # who is in is served
        for sock in crowd:
            sock.close()
        assert eventually(lambda: far.footprint.descriptors <= before.descriptors + 3)
        held.enter_context(tunnel(far.place, place))


def test_a_server_without_a_descriptor_for_the_far_leg_says_so() -> None:
    with server(descriptors=32) as far, echo() as place, contextlib.ExitStack() as held:
        before = far.footprint
        crowd = [held.enter_context(far.place.connected()) for _ in range(32)]
        # those that are accepted later might wait for ever, for those that were served
        assert eventually(lambda: far.footprint.descriptors >= before.descriptors + 16)
        answers = []
        for sock in crowd[:16]:
            sock.sendall(connect_request(place))
            answers.append(sock.recv(100))
        refused = bytes.fromhex("06 00 0000  06 01 0000 0000 00 01 00000000")
        assert any(answer == refused for answer in answers), answers
        assert all(answer[:4] == refused[:4] for answer in answers)
        held.close()
        assert eventually(lambda: far.footprint.descriptors <= before.descriptors + 3)
        held.enter_context(tunnel(far.place, place))


# Destinations and clients.


def test_a_destination_that_resets_is_passed_on_as_a_reset(mixed: Proxy) -> None:
    def half_an_answer(sock: socket.socket) -> None:
        sock.sendall(b"half")
        sock.recv(100)
        reset(sock)

    with unharmed(mixed), tcp_host(half_an_answer) as place, tunnel(mixed.place, place) as sock:
        assert sock.recv(100) == b"half"
        sock.sendall(FIRST_DATA)
        with pytest.raises(ConnectionResetError):
            sock.recv(100)


def test_a_client_that_resets_is_passed_on_as_a_reset(mixed: Proxy) -> None:
    errors: list[OSError] = []

    def wait_for_more(sock: socket.socket) -> None:
        try:
            while sock.recv(100):
                pass
        except OSError as error:
            errors.append(error)

    with unharmed(mixed), tcp_host(wait_for_more) as place:
        reset(tunnel(mixed.place, place))
        assert eventually(lambda: bool(errors))
        assert isinstance(errors[0], ConnectionResetError)


def test_a_destination_that_breaks_off_in_the_middle_of_a_response_is_no_whole_response(
    mixed: Proxy,
) -> None:
    def half_an_answer(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        reset(sock)

    with unharmed(mixed), tcp_host(half_an_answer) as place:
        assert curl("--proxy", mixed.authority, f"http://{place.host}:{place.port}").code != 0


@pytest.mark.parametrize("vanish", [socket.socket.close, reset])
def test_clients_that_vanish_while_we_connect_leave_nothing(
    mixed: Proxy, vanish: Callable[[socket.socket], None]
) -> None:
    with unharmed(mixed), silent_place() as place:
        clients = [mixed.place.connected() for _ in range(100)]
        for client in clients:
            client.sendall(connect_request(place))
        time.sleep(0.1)
        for client in clients:
            vanish(client)


def test_a_destination_that_never_answers_has_timed_out(mixed: Proxy) -> None:
    with unharmed(mixed), silent_place() as place, mixed.place.connected() as sock:
        sock.sendall(connect_request(place))
        assert read_to_the_end(sock) == bytes.fromhex("06 00 0000  06 09 0000 0000 00 01 00000000")


def test_a_name_server_that_never_answers_is_a_timeout(run: Run) -> None:
    def ask(name: bytes, port: int) -> Sequence[ResolvedAddress]:
        time.sleep(0.5)
        return ()

    async def scene() -> None:
        outbound = DirectOutbound(Resolver(lookup=ask, timeout=0.1, threads=2))
        async with Server(["socks6://127.0.0.1:0"], ServerWorker(outbound=outbound)) as server:
            client = Client(server.urls[0])
            began = time.monotonic()
            calls = [client.connect("nobody.example", 80) for _ in range(10)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(error, ConnectionTimedOut) for error in errors), errors
            assert time.monotonic() - began < AT_ONCE
            assert await client.noop() < AT_ONCE

    run(scene())
