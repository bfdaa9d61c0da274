"""Clients whose network changes under them, with requests and open streams: QUIC moves along, TCP begins anew."""

import asyncio
import contextlib
import errno
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from socks6 import Client, ProxiedStream, ProxyUnreachable
from socks6.net import silent_peers
from tests.kit.certificates import write_certificate
from tests.kit.loops import Run
from tests.kit.netns import RIGHT, Namespace, needs_namespaces, road
from tests.kit.origins import checksum, echo, web_site
from tests.kit.proxies import server
from tests.kit.udp_hosts import udp_echo

pytestmark = [pytest.mark.e2e, needs_namespaces]

PROXY: Final = "10.99.0.1"  # an address of the far host that no link has
REQUEST_SECONDS: Final = 5.0  # on a machine that is busy with other tests; what hangs takes 30
SIZE: Final = 1 << 20
PASSWORD: Final = "alice", "123456"


@dataclass(frozen=True, kw_only=True)
class Network:
    """Two hosts, and two links between them, of which the first is used."""

    near: Namespace
    far: Namespace


Change: TypeAlias = Callable[[Network], Awaitable[None]]


@pytest.fixture
def network() -> Iterator[Network]:
    """Give two hosts, and be on the near one."""
    with road() as hosts:
        near, far = hosts
        near.configure(
            f"link add second type veth peer name second netns {far.path}",
            "link set second up",
            "address add 10.67.1.1/24 dev second",
            f"route add {PROXY} via 10.66.1.2 metric 10",
            f"route add {PROXY} via 10.67.1.2 metric 20",
        )
        far.configure(
            "link set second up", "address add 10.67.1.2/24 dev second", f"address add {PROXY}/32 dev lo"
        )
        with near.entered():
            yield Network(near=near, far=far)


async def another_address(network: Network) -> None:
    network.near.configure(
        f"address add 10.66.1.77/24 dev {RIGHT}",
        f"address del 10.66.1.1/24 dev {RIGHT}",
        f"address replace 10.66.1.77/24 dev {RIGHT}",
        f"route replace {PROXY} via 10.66.1.2 metric 10",
    )


async def another_link(network: Network) -> None:
    network.near.configure(f"link set {RIGHT} down")


async def another_route(network: Network) -> None:
    """Have what leaves from the old address get lost, though it stays."""
    network.near.configure(f"route replace {PROXY} via 10.67.1.2 metric 5")
    network.far.configure(
        "rule add pref 10 lookup local",  # after ours, that is
        "rule del pref 0",
        "rule add pref 1 from 10.66.1.1 type blackhole",
    )


async def away_for_a_moment(network: Network) -> None:
    network.near.configure(f"link set {RIGHT} down", "link set second down")
    await asyncio.sleep(0.3)
    network.near.configure(f"link set {RIGHT} up", f"route add {PROXY} via 10.66.1.2 metric 10")


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


async def over_quic(url: str, network: Network, change: Change) -> None:
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
            await change(network)
            async with await client.connect(*place) as other:
                await answers(other)
            await answers(stream)
            await association.send(b"after", at)
            assert (await association.receive())[0] == b"after"
            while piece := await download.receive():
                came += piece
            assert hashlib.sha256(came.partition(b"\r\n\r\n")[2]).hexdigest() == checksum(SIZE)


async def answers(stream: ProxiedStream) -> None:
    await stream.send(b"there?")
    assert await stream.receive() == b"there?"


@pytest.mark.parametrize("backend", ["qh3", "aioquic"])
def test_over_quic_all_goes_on_at_another_address(
    run: Run, network: Network, tmp_path: Path, backend: str
) -> None:
    with proxy(network, tmp_path, "quic", f"&backend={backend}") as url:
        run(over_quic(url, network, another_address))


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
