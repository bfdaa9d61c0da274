"""The server's side of DTLS, and its cookies."""

import asyncio
import itertools
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from socks6.net.accept import ConnectionLimits
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.transports.dtls import MAX_RECORD_BYTES, DtlsConnector, read_client_hello
from socks6.net.transports.dtls_server import COOKIE_SECONDS, Cookies, DtlsPeer
from tests.kit.certificates import certificate
from tests.kit.dtls import PATIENCE, HandClient, Stage, dtls_stage
from tests.kit.loops import Run

pytestmark = pytest.mark.e2e  # takes long, with real sockets

SOURCE = ("192.0.2.1", 4000)
RANDOM = bytes(32)


def cookies() -> Cookies:
    numbers = itertools.count()
    return Cookies(100.0, new_secret=lambda size: next(numbers).to_bytes(size))


def test_cookie_holds_for_its_source_and_random_alone() -> None:
    jar = cookies()
    cookie = jar.make(SOURCE, RANDOM, 100.0)
    assert jar.holds(cookie, SOURCE, RANDOM, 101.0)
    assert not jar.holds(cookie, ("192.0.2.1", 4001), RANDOM, 101.0)
    assert not jar.holds(cookie, ("192.0.2.2", 4000), RANDOM, 101.0)
    assert not jar.holds(cookie, SOURCE, b"\1" * 32, 101.0)
    assert not jar.holds(cookie[:-1], SOURCE, RANDOM, 101.0)
    assert not jar.holds(b"", SOURCE, RANDOM, 101.0)


def test_cookie_is_good_for_a_lifetime_and_at_most_for_two() -> None:
    jar = cookies()
    cookie = jar.make(SOURCE, RANDOM, 100.0)
    assert jar.holds(cookie, SOURCE, RANDOM, 100.0 + COOKIE_SECONDS)
    assert jar.holds(cookie, SOURCE, RANDOM, 99.0 + 2 * COOKIE_SECONDS)
    assert not jar.holds(cookie, SOURCE, RANDOM, 100.0 + 2 * COOKIE_SECONDS)


def test_old_cookies_do_not_hold_after_a_long_silence() -> None:
    jar = cookies()
    cookie = jar.make(SOURCE, RANDOM, 100.0)
    assert not jar.holds(cookie, SOURCE, RANDOM, 100.0 + 5 * COOKIE_SECONDS)
    assert jar.holds(jar.make(SOURCE, RANDOM, 500.0), SOURCE, RANDOM, 500.0)


def test_secrets_are_drawn_by_chance() -> None:
    assert Cookies(0.0).make(SOURCE, RANDOM, 0.0) != Cookies(0.0).make(SOURCE, RANDOM, 0.0)


FLOOD = 3_000


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what the server does, no event tells
            await asyncio.sleep(0.005)


def test_data_come_and_go(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.connected()
            await client.exchange(b"hello")
            await client.exchange(bytes(MAX_RECORD_BYTES))
            client.close()
            await until(lambda: stage.server.limits.count == 0)

    run(main())


def test_hundred_clients_share_the_port(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            clients = await asyncio.gather(*(stage.connected() for _ in range(100)))
            assert stage.server.limits.count == 100
            await asyncio.gather(*(client.exchange(b"%d" % number) for number, client in enumerate(clients)))
            assert len({peer for peer, _ in stage.messages}) == 100
            for client in clients:
                client.close()
            await until(lambda: stage.server.limits.count == 0)

    run(main())


def test_who_sends_no_cookie_back_leaves_no_trace(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.client()
            (hello,) = client.conversation.datagrams_to_send()
            found = read_client_hello(hello)
            assert found is not None
            await _flood(client, hello, 300)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            await _flood(client, hello, FLOOD)
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert stage.server.limits.count == 0
            assert len(stage.server._peers) == 0
            assert grown < 50_000  # what is in flight, not FLOOD connections
            client.transport.close()

    run(main())


async def _flood(client: HandClient, hello: bytes, count: int) -> None:
    """Send hellos of ever new randoms, a few at a time; see each answered with less than was sent."""
    start = hello.index(read_client_hello(hello).random)  # type: ignore[union-attr]  # it is one
    for number in range(count):
        random = number.to_bytes(32)
        client.transport.sendto(hello[:start] + random + hello[start + 32 :])
        answer = await asyncio.wait_for(client.packets.get(), PATIENCE)
        assert len(answer) < len(hello)


def test_rubbish_is_counted_and_answered_by_nothing(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.client()
            for rubbish in (
                b"\x16",
                b"\x17" * 100,
                b"\x14\xfe\xfd",
                client.conversation.datagrams_to_send()[0][:50],
            ):
                client.transport.sendto(rubbish)
            await until(lambda: stage.server.dropped == 4)
            assert client.packets.empty()
            assert stage.server.limits.count == 0
            client.transport.close()

    run(main())


def test_client_that_starts_anew_on_its_port_takes_its_own_place(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.connected()
            await client.exchange(b"first")
            lost: list[str] = []
            (old, _) = stage.messages[0]
            assert old.join("", lost.append)
            client.begin_anew()
            await client.shake_hands()
            await client.exchange(b"second")
            (new, _) = stage.messages[1]
            assert new is not old
            assert lost == ["its client began a new DTLS connection"]
            assert not old.send(b"x", [])
            assert stage.server.limits.count == 1
            client.close()

    run(main())


def test_old_connection_stays_until_the_new_one_stands(run: Run) -> None:
    """RFC 6347 §4.2.8: whoever can only write the client's address ends nothing."""

    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.connected()
            await client.exchange(b"before")
            old, client.conversation = client.conversation, stage.connector.call()
            client.flush()
            verify = await client.packets.get()
            client.conversation.receive(verify)
            client.flush()  # the cookie, and nothing after it
            await client.packets.get()
            assert stage.server.limits.count == 2
            halfway, client.conversation = client.conversation, old
            while not client.packets.empty():
                client.packets.get_nowait()
            await client.exchange(b"meanwhile")
            assert {peer for peer, _ in stage.messages} == {stage.messages[0][0]}
            client.close()  # the old one ends; the new one may go on
            await until(lambda: stage.server.limits.count == 1)
            assert not halfway.over

    run(main())


def test_replayed_hello_begins_nothing(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.client()
            client.flush()
            client.conversation.receive(await client.packets.get())
            (hello,) = client.conversation.datagrams_to_send()
            client.transport.sendto(hello)
            await client.shake_hands()
            client.transport.sendto(hello)
            await client.exchange(b"all is well")
            assert stage.server.limits.count == 1
            client.close()

    run(main())


def test_cookie_is_good_for_its_own_address_alone(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client, thief = await stage.client(), await stage.client()
            client.flush()
            client.conversation.receive(await client.packets.get())
            (hello,) = client.conversation.datagrams_to_send()
            thief.transport.sendto(hello)
            assert (await thief.packets.get())[13] == 3  # HelloVerifyRequest
            assert stage.server.limits.count == 0
            client.transport.close()
            thief.transport.close()

    run(main())


def test_connections_nobody_uses_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.net.transports.dtls_server.UNUSED_SECONDS", 0.1)

    async def main() -> None:
        async with dtls_stage() as stage:
            used, unused = await stage.connected(), await stage.connected()
            await used.exchange(b"mine")
            peer = stage.messages[0][0]
            assert peer.join("", _nobody)
            assert await unused.receive() == b""  # told so
            assert stage.server.limits.count == 1
            await used.exchange(b"still mine")
            peer.leave(_nobody)
            peer.leave(_nobody)
            assert await used.receive() == b""
            assert not peer.join("", _nobody)
            used.transport.close()
            unused.transport.close()

    run(main())


def _nobody(_: str) -> None:
    pass


def test_handshake_that_stops_halfway_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socks6.net.transports.dtls_server.HANDSHAKE_SECONDS", 0.2)

    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.client()
            await _halfway(client)
            await until(lambda: stage.server.limits.count == 1)
            await until(lambda: stage.server.limits.count == 0)
            client.transport.close()

    run(main())


async def _halfway(client: HandClient) -> None:
    client.flush()
    client.conversation.receive(await client.packets.get())
    client.flush()


def test_lost_flights_are_sent_again(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.client()
            await _halfway(client)
            await client.packets.get()  # lost
            await client.shake_hands()  # one second later
            await client.exchange(b"there")
            client.close()

    run(main())


def test_limits_hold_in_all_and_are_freed(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage(limits=ConnectionLimits(total=2)) as stage:
            first, second = await stage.connected(), await stage.connected()
            third = await stage.client()
            await _halfway(third)
            await until(lambda: bool(stage.refusals))
            assert stage.refusals == [("127.0.0.1", "2 connections already")]
            first.close()
            await until(lambda: stage.server.limits.count == 1)
            fourth = await stage.connected()
            await fourth.exchange(b"in")
            for client in (second, fourth):
                client.close()
            third.transport.close()

    run(main())


def test_paths_are_their_users_alone(run: Run) -> None:
    async def main() -> None:
        with certificate("alice@example.com", stem="user") as user:
            async with dtls_stage(client_ca=True) as stage:
                said = TlsParameters(ca=user.ca, certificate=user.certificate, key=user.key)
                client = await stage.connected(DtlsConnector("localhost", said))
                await client.exchange(b"hello")
                peer: DtlsPeer = stage.messages[0][0]
                assert peer.user == "alice@example.com"
                assert not peer.join("bob", _nobody)
                assert not peer.join("", _nobody)
                assert peer.join("alice@example.com", _nobody)
                client.close()

    run(main())


def test_certificates_that_name_nobody_or_are_not_there_get_no_connection(run: Run) -> None:
    async def main() -> None:
        with certificate(common_name="a:b", stem="user") as user:
            async with dtls_stage(client_ca=True) as stage:
                said = TlsParameters(ca=user.ca, certificate=user.certificate, key=user.key)
                for wrong in (said, replace(said, certificate=None, key=None)):
                    client = await stage.client(DtlsConnector("localhost", wrong))
                    await _refused(stage, client)
                assert [reason for _, reason in stage.refusals] == [
                    "the client's certificate names no user",
                    "the client has no certificate",
                ]

    run(main())


async def _refused(stage: Stage, client: HandClient) -> None:
    async with asyncio.timeout(PATIENCE):
        while not client.conversation.over:
            client.flush()
            client.conversation.receive(await client.packets.get())
    client.flush()
    assert stage.server.limits.count == 0
    assert not stage.messages
    client.transport.close()


def test_wrong_certificate_of_the_server_is_told_to_it(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.client(DtlsConnector("localhost"))  # knows the system's roots alone
            assert "certificate" in await client.fail_to_shake_hands()
            client.flush()
            await until(lambda: bool(stage.refusals))
            assert "does not know who issued our certificate" in stage.refusals[0][1]
            client.transport.close()

    run(main())


def test_too_long_messages_do_not_go(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.connected()
            await client.exchange(b"hello")
            peer = stage.messages[0][0]
            assert not peer.send(bytes(MAX_RECORD_BYTES + 1), [])
            await client.exchange(b"still here")
            client.close()

    run(main())


def test_close_tells_everybody(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            client = await stage.connected()
            await client.exchange(b"hello")
            lost: list[str] = []
            assert stage.messages[0][0].join("", lost.append)
            stage.server.close()
            stage.server.close()
            assert lost == ["the server stopped"]
            assert await client.receive() == b""
            client.transport.close()

    run(main())
