"""The SOCKS 5 inbound, with SOCKS 4 and 4a."""

import pytest

from socks6.errors import ConnectionRefused, ConnectionTimedOut, OperationFailed
from socks6.message.codes import Command
from socks6.net.stream import NO_ENDPOINT, Endpoint
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from socks6.telemetry import Ending
from tests.kit.connection import ScriptedConnection, expect, serving
from tests.kit.loops import Run

GREETING = bytes.fromhex("05 01 00")
GREETING_PASSWORD = bytes.fromhex("05 01 02")
CREDENTIALS = bytes.fromhex("01 02 6d65 03 313233")
CONNECT5 = bytes.fromhex("05 01 00 03 09 612e6578616d706c65 0050")
CONNECT4 = bytes.fromhex("04 01 0050 c0000201 00")
CONNECT4A = bytes.fromhex("04 01 0050 00000001 00 612e6578616d706c65 00")
BOUND5 = bytes.fromhex("05 00 00 01 c0000209 0fa0")
BOUND4 = bytes.fromhex("00 5a 0fa0 c0000209")
USERS = {b"me": b"123"}


def request(
    host: str = "a.example", *, identity: Identity = ANONYMOUS, initial_data: bytes = b""
) -> ProxyRequest:
    return ProxyRequest(
        command=Command.CONNECT, host=host, port=80, identity=identity, initial_data=initial_data
    )


def test_socks5_connects(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(Socks5Inbound(), connection) as served:
            await served.client.send(GREETING)
            await expect(served.client, b"\5\0")
            await served.client.send(CONNECT5)
            await expect(served.client, BOUND5)
            tunnel = await served.over()
            assert tunnel is not None
            await tunnel.remote.send(b"hello")
            await expect(await connection.remote(), b"hello")
        assert connection.requests == [request()]
        assert (connection.refusals, connection.answers) == ([], [])

    run(scene())


@pytest.mark.parametrize(
    ("request_", "host", "answer"),
    [(CONNECT4, "192.0.2.1", BOUND4), (CONNECT4A, "a.example", BOUND4)],
)
def test_socks4_connects(run: Run, request_: bytes, host: str, answer: bytes) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(Socks5Inbound(), connection) as served:
            await served.client.send(request_)
            await expect(served.client, answer)
            assert await served.over() is not None
        assert connection.requests == [request(host)]

    run(scene())


def test_success_is_told_only_after_connecting(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(failures=[ConnectionRefused("no")])
        async with serving(Socks5Inbound(), connection, GREETING + CONNECT5) as served:
            await expect(served.client, b"\5\0" + bytes.fromhex("05 05 00 01 00000000 0000"))
            assert await served.over() is None

    run(scene())


@pytest.mark.parametrize(
    ("failure", "code5"),
    [(ConnectionRefused("no"), 5), (ConnectionTimedOut("late"), 4), (OperationFailed("odd", code=0x77), 1)],
)
def test_failures_have_their_codes(run: Run, failure: OperationFailed, code5: int) -> None:
    async def scene() -> None:
        async with serving(
            Socks5Inbound(), ScriptedConnection(failures=[failure]), GREETING + CONNECT5
        ) as served:
            await expect(served.client, b"\5\0" + bytes([5, code5, 0, 1, 0, 0, 0, 0, 0, 0]))
        async with serving(Socks5Inbound(), ScriptedConnection(failures=[failure]), CONNECT4) as served:
            await expect(served.client, bytes.fromhex("00 5b 0000 00000000"))

    run(scene())


def test_the_bound_address_may_be_of_any_kind(run: Run) -> None:
    async def scene() -> None:
        for bound, address in (
            (Endpoint("2001:db8::1", 80), "04 20010db8000000000000000000000001 0050"),
            (Endpoint("b.example", 80), "03 09 622e6578616d706c65 0050"),
            (NO_ENDPOINT, "01 00000000 0000"),
        ):
            async with serving(
                Socks5Inbound(), ScriptedConnection(bound=bound), GREETING + CONNECT5
            ) as served:
                await expect(served.client, b"\5\0" + bytes.fromhex("05 00 00" + address))

    run(scene())


@pytest.mark.parametrize("sends", [0, 2, 5])
def test_early_bytes_reach_the_remote_once(run: Run, sends: int) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(sends=sends)
        async with serving(Socks5Inbound(), connection, GREETING) as served:
            await served.client.send(CONNECT5 + b"early")
            tunnel = await served.over()
            assert tunnel is not None
            assert tunnel.initial_data == b"early"[sends:]
        assert connection.requests == [request(initial_data=b"early")]

    run(scene())


def test_users_prove_themselves_in_one_write(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS)
        async with serving(Socks5Inbound(), connection, GREETING_PASSWORD + CREDENTIALS + CONNECT5) as served:
            await expect(served.client, b"\5\2\1\0" + BOUND5)
        assert connection.requests == [request(identity=Identity(name="me"))]

    run(scene())


def test_wrong_passwords_are_refused(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users={b"me": b"other"})
        async with serving(Socks5Inbound(), connection, GREETING_PASSWORD + CREDENTIALS + CONNECT5) as served:
            await expect(served.client, b"\5\2\1\1")
            assert await served.over() is None
        assert connection.refusals == [(Ending.UNAUTHENTICATED, "wrong credentials")]
        assert connection.requests == []

    run(scene())


@pytest.mark.parametrize(
    ("said", "answer"), [(GREETING, b"\5\xff"), (CONNECT4, bytes.fromhex("00 5d 0000 00000000"))]
)
def test_clients_without_a_password_are_refused_where_users_are_demanded(
    run: Run, said: bytes, answer: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(users=USERS)
        async with serving(Socks5Inbound(), connection, said) as served:
            await expect(served.client, answer)
            assert await served.over() is None
        assert [ending for ending, _ in connection.refusals] == [Ending.UNAUTHENTICATED]

    run(scene())


def test_passwords_nobody_asked_for_are_taken_and_forgotten(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(Socks5Inbound(), connection, GREETING_PASSWORD + CREDENTIALS + CONNECT5) as served:
            await expect(served.client, b"\5\2\1\0" + BOUND5)
        assert connection.requests == [request()]
        assert connection.authenticator.asked == []

    run(scene())


@pytest.mark.parametrize("command", [Command.UDP_ASSOCIATE, 9])
def test_other_commands_are_not_supported(run: Run, command: int) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        request = bytes([5, command]) + CONNECT5[2:]
        async with serving(Socks5Inbound(), connection, GREETING + request) as served:
            await expect(served.client, b"\5\0" + bytes.fromhex("05 07 00 01 00000000 0000"))
            assert await served.over() is None
        async with serving(Socks5Inbound(), connection, bytes([4, command]) + CONNECT4[2:]) as served:
            await expect(served.client, bytes.fromhex("00 5b 0000 00000000"))
        assert connection.answers == [(7, f"command {command} is not supported")] * 2
        assert connection.requests == []

    run(scene())


def test_rubbish_is_told_to_the_log(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(Socks5Inbound(), connection, b"GET") as served:
            assert await served.over() is None
        assert connection.refusals == [(Ending.MALFORMED, "an HTTP client: listen on mixed:// for those")]

    run(scene())


def test_a_client_that_says_too_little_is_told_to_the_log(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(Socks5Inbound(), connection, GREETING) as served:
            await served.client.send_eof()
            assert await served.over() is None
        assert connection.refusals == [(Ending.NO_REQUEST, "the client closed its side")]

    run(scene())


def test_the_connection_is_given_up_when_success_cannot_be_told(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(Socks5Inbound(), connection, GREETING + CONNECT5) as served:
            served.client.abort()
            with pytest.raises(ConnectionError):
                await served.over()
            remote = await connection.remote()
            with pytest.raises(ConnectionError):
                await remote.receive()

    run(scene())
