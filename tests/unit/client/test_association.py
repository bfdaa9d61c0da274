"""An association that is open: what is sent, what is received, and how it ends."""

import asyncio
import errno

import pytest

from socks6.client.paths import QUEUE_BYTES
from socks6.errors import DatagramFailed, DatagramTooLarge, ProxyUnreachable, RemoteProtocolError
from socks6.message.datagrams import Datagram, DatagramError
from socks6.message.dialect import DatagramLayout
from socks6.message.options import UdpError
from tests.kit.associating import AssociatingProxy, associating
from tests.kit.loops import Run

REMOTE = ("192.0.2.5", 53)
REPORTING = (UdpError(availability=2),)


def from_remote(proxy: AssociatingProxy, data: bytes, **changes: int) -> Datagram:
    """Return a datagram for the last association's client."""
    host, port = REMOTE
    facts = {"association_id": proxy.association_id, **changes}
    return Datagram(host=host, port=port, data=data, **facts)


def an_error(proxy: AssociatingProxy, code: int = 2) -> DatagramError:
    return DatagramError(
        association_id=proxy.association_id, host="192.0.2.5", port=53, code=code, reporter="10.0.0.1"
    )


@pytest.mark.parametrize("path", ["datagram", "stream"])
def test_remote_hosts_may_speak_first(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp=path) as udp:  # type: ignore[arg-type]
            await proxy.send(from_remote(proxy, b"unasked"))
            assert await udp.receive() == (b"unasked", REMOTE)

    run(scene())


def test_padding_is_ignored(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            await proxy.send(from_remote(proxy, b"data"), padding=b"padding")
            assert await udp.receive() == (b"data", REMOTE)

    run(scene())


def test_what_is_no_datagram_for_us_is_ignored(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            ours = from_remote(proxy, b"data").encode()
            for packet in (
                b"",
                b"\6",
                ours[:-1],  # longer than its datagram
                b"\5" + ours[1:],
                from_remote(proxy, b"another's", association_id=99).encode(),
                ours[:12] + bytes.fromhex("02 00 0035 c0000205"),
                ours[:2] + bytes.fromhex("0017") + ours[4:12] + b"\3\0\0\x35\6a b\0\0\0",
                an_error(proxy).encode(),  # that nobody asked for
            ):
                await proxy.send_raw(packet)
            await proxy.send_raw(ours)
            assert await udp.receive() == (b"data", REMOTE)

    run(scene())


@pytest.mark.parametrize("layout", DatagramLayout)
def test_replies_are_understood_in_either_layout(run: Run, layout: DatagramLayout) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="datagram") as udp:
            await proxy.send(from_remote(proxy, b"data"), layout=layout)
            assert await udp.receive() == (b"data", REMOTE)

    run(scene())


@pytest.mark.parametrize("path", ["datagram", "stream"])
@pytest.mark.parametrize("layout", DatagramLayout)
@pytest.mark.parametrize(
    ("code", "number"),
    [(1, errno.ENETUNREACH), (2, errno.EHOSTUNREACH), (3, errno.EHOSTUNREACH), (4, errno.EMSGSIZE)],
)
def test_icmp_errors_are_raised_and_end_nothing(
    run: Run, path: str, layout: DatagramLayout, code: int, number: int
) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy(options=REPORTING)
        async with (
            associating(proxy) as client,
            client.associate(udp=path, errors=True) as udp,  # type: ignore[arg-type]  # one of the three
        ):
            await proxy.send(an_error(proxy, code), layout=layout)
            with pytest.raises(DatagramFailed) as caught:
                await udp.receive()
            told = caught.value
            assert (told.errno, told.host, told.port, told.reporter) == (number, *REMOTE, "10.0.0.1")
            await udp.send(b"on", REMOTE)
            assert await udp.receive() == (b"on", REMOTE)

    run(scene())


def test_how_much_a_datagram_holds(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            async with client.associate(udp="datagram") as udp:
                assert udp.max_data("192.0.2.5") == 65507 - 20
                assert udp.max_data("2001:db8::5") == 65507 - 32
                assert udp.max_data("example.com") == 65507 - 16 - 12
                assert udp.unfragmented_data("192.0.2.5") <= udp.max_data("192.0.2.5")
                await udp.send(bytes(udp.max_data("192.0.2.5")), REMOTE)
                data, _ = await udp.receive()
                assert len(data) == udp.max_data("192.0.2.5")
                with pytest.raises(DatagramTooLarge) as caught:
                    await udp.send(bytes(udp.max_data("192.0.2.5") + 1), REMOTE)
                assert caught.value.limit == udp.max_data("192.0.2.5")
            async with client.associate(udp="stream") as udp:
                assert udp.max_data("192.0.2.5") == 65507
                assert udp.max_data("2001:db8::5") == 65535 - 32

    run(scene())


@pytest.mark.parametrize("destination", [("", 53), ("a b", 53), ("192.0.2.5", 65536), ("192.0.2.5", -1)])
def test_impossible_destinations_are_refused(run: Run, destination: tuple[str, int]) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client, client.associate() as udp:
            with pytest.raises(ValueError, match=r"."):
                await udp.send(b"", destination)

    run(scene())


@pytest.mark.parametrize("path", ["datagram", "stream"])
def test_the_association_ends_with_its_stream(run: Run, path: str) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp=path) as udp:  # type: ignore[arg-type]
            await udp.send(b"last", REMOTE)
            assert (await udp.receive())[0] == b"last"
            await proxy.hang_up()
            with pytest.raises(ProxyUnreachable):
                await udp.receive()
            with pytest.raises(ProxyUnreachable):
                await udp.send(b"late", REMOTE)

    run(scene())


def test_rubbish_on_the_stream_ends_it(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate() as udp:
            await proxy.write(b"rubbish")
            with pytest.raises(RemoteProtocolError):
                await udp.receive()

    run(scene())


def test_it_is_over_after_its_block(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            async with client.associate() as udp:
                pass
            for call in (udp.receive(), udp.send(b"", REMOTE)):
                with pytest.raises(ProxyUnreachable, match="closed"):
                    await call

    run(scene())


def test_what_was_sent_on_the_stream_arrives_when_the_block_ends_at_once(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client:
            async with client.associate(udp="stream") as udp:
                for _ in range(50):
                    await udp.send(bytes(40_000), REMOTE)
            assert len(proxy.messages) == 51
        assert (proxy.ended, proxy.broken) == (1, 0)

    run(scene())


def test_the_callers_exceptions_pass_unchanged(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.associate():
                    raise ZeroDivisionError

    run(scene())


def test_a_receiver_may_be_cancelled_and_nothing_is_lost(run: Run) -> None:
    async def scene() -> None:
        async with associating(AssociatingProxy()) as client, client.associate() as udp:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await udp.receive()
            await udp.send(b"hello", REMOTE)
            assert (await udp.receive())[0] == b"hello"

    run(scene())


def test_a_stream_that_takes_nothing_costs_the_oldest_datagrams(run: Run) -> None:
    async def scene() -> None:
        proxy = AssociatingProxy()
        async with associating(proxy) as client, client.associate(udp="stream") as udp:
            for number in range(40):  # none of which leaves before we wait for something
                udp.send_nowait(bytes((number,)) * 60_000, REMOTE)
            assert udp.dropped == 40 - QUEUE_BYTES // 60_020
            data, _ = await udp.receive()
            assert data[0] == udp.dropped

    run(scene())


def test_more_places_than_are_remembered_do_no_harm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.client.association.MAX_CACHED_HOSTS", 2)

    async def scene() -> None:
        async with associating(AssociatingProxy()) as client, client.associate() as udp:
            for number in range(1, 6):
                remote = (f"192.0.2.{number}", 53)
                await udp.send(b"hello", remote)
                assert await udp.receive() == (b"hello", remote)

    run(scene())
