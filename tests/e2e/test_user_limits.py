"""Bandwidth and quotas of users, over every kind of connection at once; a quota that outlives a killed server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from socks6 import Client, Policy, Server, ServerWorker
from socks6.policy.identity import Identity
from socks6.policy.user_limits import NO_LIMITS, UserLimits
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.telemetry import Ending
from tests.kit.certificates import certificate
from tests.kit.loops import Run
from tests.kit.origins import web_site
from tests.kit.outbounds import Recorder
from tests.kit.processes import socks6
from tests.kit.proxies import Proxy, curl, server

pytestmark = pytest.mark.e2e
RATE: Final = 400_000
BURST: Final = RATE // 8
SECONDS: Final = 1.0
QUOTA: Final = 6_000_000
on_one_loop = pytest.mark.parametrize("run", ["uvloop"], indirect=True)


class Anybody(Authenticator):
    """Lets everybody in, with limits."""

    required = True

    def __init__(self, limits: UserLimits) -> None:
        self.limits = limits

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        return Identity(name=(credentials.subject or b"").decode(), limits=self.limits)

    @override
    def credential_version(self, identity: Identity) -> object:
        return True


class Downloads:
    """What each client has got."""

    def __init__(self) -> None:
        self.got = dict.fromkeys(CARRIERS, 0)

    async def by_stream(self, carrier: str, client: Client, port: int) -> None:
        """Receive what a host sends, until it ends."""
        async with await client.connect("127.0.0.1", port) as stream:
            while data := await stream.receive():
                self.got[carrier] += len(data)

    async def by_datagrams(self, carrier: str, client: Client, port: int) -> None:
        """Receive what is sent back by a host that gets our own."""
        async with client.associate(udp="datagram") as udp:
            await udp.send(b"more", ("127.0.0.1", port))
            while True:
                data, _ = await udp.receive()
                self.got[carrier] += len(data)


CARRIERS: Final = ("tcp", "tls", "quic", "udp", "dtls", "quic datagrams")


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send for ever."""
    try:
        while True:
            writer.write(bytes(65536))
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


class DatagramFlood(asyncio.DatagramProtocol):
    """Sends twice the rate to whoever has sent something."""

    def __init__(self) -> None:
        self._guests: list[tuple[str, int]] = []

    @override
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # it is one
        self._transport = transport

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._guests.append(addr)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            for guest in self._guests:
                for _ in range(RATE // 50_000):
                    self._transport.sendto(bytes(1000), guest)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def floods() -> AsyncIterator[tuple[int, int]]:
    """Give the ports of hosts that send for ever, by TCP and by UDP."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        DatagramFlood, local_addr=("127.0.0.1", 0)
    )
    sending = asyncio.create_task(protocol.run())
    try:
        async with await asyncio.start_server(flood, "127.0.0.1", 0) as hosts:
            yield hosts.sockets[0].getsockname()[1], transport.get_extra_info("sockname")[1]
    finally:
        sending.cancel()
        transport.close()


@on_one_loop
def test_each_user_has_its_bandwidth_by_whatever_way_and_changes_act_on_what_is_open(run: Run) -> None:
    async def play() -> None:
        recorder = Recorder()
        worker = ServerWorker(
            authenticator=Anybody(UserLimits(down=RATE)),
            policy=Policy(allow_private=True),
            observers=[recorder],
        )
        downloads = Downloads()
        with certificate() as files:
            listen = (
                "socks6://127.0.0.1:0",
                *(f"socks6+{kind}://127.0.0.1:0?{files.listener_query}" for kind in ("tls", "quic")),
            )
            async with (
                Server(listen, worker) as proxy,
                floods() as (tcp, udp),
                contextlib.AsyncExitStack() as held,
            ):
                urls = [url.partition("?")[0] for url in proxy.urls]
                tasks = []
                for carrier, url in zip(CARRIERS, urls * 2, strict=True):
                    query = "" if url.startswith("socks6:") else f"?ca={files.ca}"
                    name = carrier.replace(" ", "-")
                    client = Client(f"{url.replace('://', f'://{name}:secret@')}{query}")
                    await held.enter_async_context(client)
                    by = downloads.by_stream if carrier in CARRIERS[:3] else downloads.by_datagrams
                    port = tcp if carrier in CARRIERS[:3] else udp
                    tasks.append(asyncio.create_task(by(carrier, client, port)))
                await soon(lambda: all(downloads.got.values()))
                before, start = dict(downloads.got), time.monotonic()
                await asyncio.sleep(SECONDS)
                seconds = time.monotonic() - start
                for carrier, got in downloads.got.items():
                    went = got - before[carrier]
                    assert 0.6 * RATE * seconds < went < 1.1 * RATE * seconds + BURST, (carrier, went)
                worker.accounts.replace_limits("tcp", NO_LIMITS)
                await soon(lambda: downloads.got["tcp"] > 10 * RATE)
                worker.accounts.replace_limits("tls", UserLimits(quota=1))
                with pytest.raises(ConnectionError):  # no clean end
                    await tasks.pop(1)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
        assert Ending.QUOTA in [end.ending for end in recorder.summaries]

    run(play())


async def soon(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    while not condition():  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.01)


def test_a_quota_holds_across_a_server_that_is_killed(tmp_path: Path) -> None:
    users = str(tmp_path / "users.db")
    added = socks6("users", "add", "alice", "--users-db", users, "--quota", f"{QUOTA}", typed=b"wonderland\n")
    assert added.code == 0
    serve = ("--listen", "socks5://127.0.0.1:0", "--users-db", users, "--allow-private")

    def fetch(proxy: Proxy, size: int) -> tuple[int, int]:
        line = ("--socks5", proxy.authority, "--proxy-user", "alice:wonderland", f"{site.url}/big/{size}")
        fetched = curl(*line)
        return len(fetched.body), fetched.code

    with web_site() as site:
        with server(*serve, ends_with=-9) as proxy:
            assert fetch(proxy, QUOTA // 3) == (QUOTA // 3, 0)
            proxy.process.kill()
            proxy.process.wait()
        with server(*serve) as proxy:
            rest, code = fetch(proxy, QUOTA)
            assert code == 56  # reset, so that it does not look like the whole file
            assert QUOTA // 3 + rest == pytest.approx(QUOTA, rel=0.01)
            assert fetch(proxy, QUOTA) == (0, 97)  # refused by the proxy
        assert any(f"quota reached user=alice quota={QUOTA} period=month" in line for line in proxy.said)
