"""Clients whose network changes under them, with requests and open streams: QUIC moves along, TCP begins anew."""

import asyncio
import contextlib
import errno
import functools
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from socks6 import Association, Client, ProxiedStream, ProxyUnreachable
from socks6.client import connector
from socks6.net import resolve, silent_peers
from socks6.net.resolve import ResolvedAddress, Resolver
from socks6.net.stream import Substream
from socks6.net.transports.quic import connection
from socks6.net.transports.tls import TlsSession
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.netns import needs_namespaces
from tests.kit.origins import Place, checksum, echo, web_site
from tests.kit.proxies import server
from tests.kit.quic_clients import pool_of
from tests.kit.two_links import (
    PROXY,
    Change,
    Network,
    another_address,
    another_link,
    another_route,
    away_for_a_moment,
    two_links,
    udp_is_dropped,
)
from tests.kit.udp_hosts import udp_echo

pytestmark = [pytest.mark.e2e, needs_namespaces]

REQUEST_SECONDS: Final = 5.0  # on a machine that is busy with other tests; what hangs takes 30
SIZE: Final = 1 << 20
PASSWORD: Final = "alice", "123456"


@pytest.fixture
def network() -> Iterator[Network]:
    """Give two hosts, and be on the near one."""
    with two_links() as hosts, hosts.near.entered():
        yield hosts


@contextlib.contextmanager
def proxy(network: Network, folder: Path, scheme: str, query: str = "") -> Iterator[str]:
    """Give the URL of a proxy on the far host."""
    files = write_certificate(folder, PROXY)
    listen = f"socks6+{scheme}://{PROXY}:0?{files.listener_query}{query}"
    with contextlib.ExitStack() as stack:
        with network.far.entered():
            far = stack.enter_context(
                server("--listen", listen, "--allow-private", "--user", ":".join(PASSWORD))
            )
        yield f"{far.as_user(*PASSWORD)}?ca={files.ca}{query}"


async def over_quic(url: str, network: Network, change: Change, times: int = 1) -> None:
    """Change a network under an open stream, a download, an association and new requests, of which all go on."""
    with contextlib.ExitStack() as stack:
        with network.far.entered():
            echoing = stack.enter_context(echo())
            datagrams = stack.enter_context(udp_echo())
            site = stack.enter_context(web_site())
        place, at = (echoing.host, echoing.port), (datagrams.host, datagrams.port)
        async with (
            Client(url, timeout=REQUEST_SECONDS) as client,
            await client.connect(*place) as stream,
            client.associate() as association,
            await client.connect(site.host, site.port) as download,
        ):
            await answers(stream)
            await association.send(b"before", at)
            assert (await association.receive())[0] == b"before"
            await download.send(b"GET /big/%d HTTP/1.0\r\n\r\n" % SIZE)
            came = await download.receive(1000)
            for turn in range(times):
                await change(network)
                async with await client.connect(*place) as other:
                    await answers(other)
                await answers(stream)
                await comes_back(association, b"after %d" % turn, at)
            while piece := await download.receive():
                came += piece
            assert hashlib.sha256(came.partition(b"\r\n\r\n")[2]).hexdigest() == checksum(SIZE)


async def comes_back(association: Association, data: bytes, at: tuple[str, int]) -> None:
    """Send a datagram until it has come back: one may be lost with the path that it took."""
    came = b""
    while came != data:
        await association.send(data, at)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                came, _ = await association.receive()


async def answers(stream: ProxiedStream) -> None:
    await stream.send(b"there?")
    assert await stream.receive() == b"there?"


@pytest.mark.parametrize("backend", ["qh3", "aioquic"])
def test_over_quic_all_goes_on_at_one_address_after_another(
    run: Run, network: Network, tmp_path: Path, backend: str
) -> None:
    with proxy(network, tmp_path, "quic", f"&backend={backend}") as url:
        run(over_quic(url, network, another_address, times=6))


@pytest.mark.deep
@pytest.mark.parametrize("change", [another_link, another_route, away_for_a_moment])
@pytest.mark.parametrize("backend", ["qh3", "aioquic"])
def test_over_quic_all_goes_on_by_another_way(
    run: Run, network: Network, tmp_path: Path, backend: str, change: Change
) -> None:
    with proxy(network, tmp_path, "quic", f"&backend={backend}") as url:
        run(over_quic(url, network, change))


@pytest.mark.deep
@pytest.mark.parametrize("change", [another_address, another_link, another_route, away_for_a_moment])
def test_over_tls_requests_work_and_open_streams_end(
    run: Run, network: Network, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream over TCP stays at its address: it ends in time, or goes on where the address has come back."""
    monkeypatch.setattr(silent_peers, "IDLE_SECONDS", 1)
    monkeypatch.setattr(silent_peers, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(silent_peers, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(silent_peers, "UNANSWERED", 2)

    async def scene(url: str) -> None:
        with contextlib.ExitStack() as stack:
            with network.far.entered():
                echoing = stack.enter_context(echo())
                datagrams = stack.enter_context(udp_echo())
            place, at = (echoing.host, echoing.port), (datagrams.host, datagrams.port)
            client = Client(url, timeout=REQUEST_SECONDS)
            idle, busy = [await client.connect(*place) for _ in range(2)]
            async with client.associate() as association:
                assert association.path == "dtls"
                await association.send(b"before", at)
                assert (await association.receive())[0] == b"before"
                await change(network)
                async with await client.connect(*place) as other:
                    await answers(other)
                with contextlib.suppress(OSError):
                    await association.send(b"after", at)
                await busy.send(b"there?")
                if change is away_for_a_moment:
                    assert await busy.receive() == b"there?"
                    await answers(idle)
                else:
                    for stream in (idle, busy):
                        with pytest.raises(OSError, check=lambda error: error.errno == errno.ETIMEDOUT):
                            await stream.receive()
                    with pytest.raises(ProxyUnreachable, match="imed out"):
                        await association.receive()
            async with client.associate() as association:
                await association.send(b"anew", at)
                assert (await association.receive())[0] == b"anew"
            for stream in (idle, busy):
                stream.abort()

    with proxy(network, tmp_path, "tls") as url:
        run(scene(url))


def test_once_udp_is_dropped_the_next_request_goes_over_tls(
    run: Run, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the silence: a connection that has left probes unanswered is another matter."""
    monkeypatch.setattr(connection, "UNANSWERED_PROBES", 100)
    files = write_certificate(tmp_path, PROXY)

    async def scene(url: str, place: Place) -> None:
        async with Client(url, timeout=REQUEST_SECONDS) as client:
            async with await client.connect(place.host, place.port) as stream:
                await answers(stream)
                assert stream.attribute(Substream) is not None
            await udp_is_dropped(network)
            for _ in range(2):
                async with await client.connect(place.host, place.port) as stream:
                    await answers(stream)
                    assert stream.attribute(TlsSession) is not None
            network.far.configure("rule del pref 1")  # so that all ends in order, and soon

    with contextlib.ExitStack() as stack:
        with network.far.entered():
            place = stack.enter_context(echo())
            tls, quic = (f"socks6+{name}://{PROXY}?{files.listener_query}" for name in ("tls", "quic"))
            stack.enter_context(server("--listen", tls, "--listen", quic, "--allow-private", "--open"))
        run(scene(f"socks6+auto://{PROXY}?ca={files.ca}", place))


@pytest.mark.deep
@pytest.mark.parametrize(
    ("scheme", "query"), [("tls", ""), ("quic", "&backend=qh3"), ("quic", "&backend=aioquic")]
)
@pytest.mark.parametrize("told", [True, False])
def test_a_proxy_is_found_where_its_name_leads_by_now(  # noqa: PLR0917 - fixtures, and what is varied
    run: Run,
    network: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    query: str,
    told: bool,
) -> None:
    """Its old address is gone, and a router says so, or nobody does."""
    addresses = [PROXY]

    def look_up(_: bytes, port: int) -> list[ResolvedAddress]:
        return [ResolvedAddress(socket.AF_INET, (host, port)) for host in addresses]

    monkeypatch.setattr(connector, "Resolver", functools.partial(Resolver, lookup=look_up))
    files = write_certificate(tmp_path, "proxy.example")

    async def scene(port: int, place: Place) -> None:
        url = f"socks6+{scheme}://{':'.join(PASSWORD)}@proxy.example:{port}?ca={files.ca}{query}"
        async with Client(url, timeout=REQUEST_SECONDS) as client:
            stream = await client.connect(place.host, place.port)
            await answers(stream)
            addresses[:] = ["10.67.1.2"]
            monkeypatch.setattr(resolve, "JUST_NOW", 0.0)  # as if it had been looked up a while ago
            network.far.configure(f"address del {PROXY}/32 dev lo")
            if not told:
                network.far.configure(f"route add blackhole {PROXY}")
            async with await client.connect(place.host, place.port) as other:
                await answers(other)
            stream.abort()
            for pooled in pool_of(client)._pool if scheme == "quic" else ():
                pooled.connection.abort()  # what was sent to the old address would be waited for

    with contextlib.ExitStack() as stack:
        listen = f"socks6+{scheme}://0.0.0.0:0?{files.listener_query}{query}"
        with network.far.entered():
            place = stack.enter_context(echo())
            far = stack.enter_context(
                server("--listen", listen, "--allow-private", "--user", ":".join(PASSWORD))
            )
        run(scene(far.place.port, place))
