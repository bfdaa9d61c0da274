"""Forwarding requests for plain http."""

import pytest
from typing_extensions import override

from socks6.errors import ConnectionRefused
from socks6.net.stream import ConnectResult
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.inbounds.http import HttpInbound
from tests.kit.connection import ScriptedConnection, expect, serving
from tests.kit.http import BROKE, GET, GET_ORIGIN, OK, OK_CLIENT, VIA, failed, post, post_origin, serve_get
from tests.kit.loops import Run


def test_a_request_and_its_response(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            await serve_get(served, await connection.remote())
        assert [(request.host, request.port) for request in connection.requests] == [("a.example", 80)]
        assert (connection.bytes_up, connection.bytes_down) == (len(GET_ORIGIN), len(OK_CLIENT))

    run(scene())


@pytest.mark.parametrize("sends", [0, 10, 1000])
def test_the_head_is_the_connections_first_data(run: Run, sends: int) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(sends=sends)
        async with serving(HttpInbound(), connection, GET) as served:
            await serve_get(served, await connection.remote())
        assert connection.requests[0].initial_data == GET_ORIGIN

    run(scene())


def test_requests_to_one_origin_share_a_connection(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET + GET + GET) as served:
            remote = await connection.remote()
            for _ in range(3):
                await serve_get(served, remote)
        assert len(connection.requests) == 1

    run(scene())


class QuickConnection(ScriptedConnection):
    """Has the origin's response arrive together with the connection."""

    @override
    async def connect(self, request: ProxyRequest) -> ConnectResult:
        connection = await super().connect(request)
        far = await self.remote()
        await far.send(OK)
        self._remotes.put_nowait(far)
        return connection


def test_an_origin_that_has_answered_already_keeps_its_connection(run: Run) -> None:
    async def scene() -> None:
        connection = QuickConnection(sends=1000)
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await expect(served.client, OK_CLIENT)
            await expect(remote, GET_ORIGIN)
            await served.client.send(GET)
            await serve_get(served, remote)
        assert len(connection.requests) == 1

    run(scene())


def test_another_origin_gets_another_connection(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        other = GET.replace(b"a.example", b"b.example")
        async with serving(HttpInbound(), connection, GET) as served:
            first = await connection.remote()
            await serve_get(served, first)
            await served.client.send(other)
            second = await connection.remote()
            await expect(second, GET_ORIGIN.replace(b"a.example", b"b.example"))
            assert await first.receive() == b""
            await second.send(OK)
            await expect(served.client, OK_CLIENT)
        assert [request.host for request in connection.requests] == ["a.example", "b.example"]

    run(scene())


@pytest.mark.parametrize("gone", ["closed", "reset", "spoke"])
def test_a_connection_that_is_no_good_any_more_is_not_used_again(run: Run, gone: str) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await serve_get(served, remote)
            match gone:
                case "closed":
                    await remote.aclose()
                case "reset":
                    remote.abort()
                case _:
                    await remote.send(b"x")
            await served.client.send(GET)
            await serve_get(served, await connection.remote())
        assert len(connection.requests) == 2

    run(scene())


def test_an_origin_that_does_not_keep_its_connection_gets_a_new_one(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET + GET) as served:
            for _ in range(2):
                remote = await connection.remote()
                await expect(remote, GET_ORIGIN)
                await remote.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
                await remote.send_eof()
                await expect(
                    served.client,
                    b"HTTP/1.1 200 OK\r\n" + VIA + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                )

    run(scene())


def test_a_request_that_met_the_close_of_a_kept_connection_is_sent_again(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await serve_get(served, remote)
            await served.client.send(GET)
            await expect(remote, GET_ORIGIN)
            await remote.aclose()
            await serve_get(served, await connection.remote())
        assert connection.answers == []

    run(scene())


@pytest.mark.parametrize(
    ("request_", "at_origin", "answer"),
    [
        (post(), post_origin(), b""),
        (
            GET[:-2] + b"Content-Length: 1\r\n\r\nx",
            GET_ORIGIN.replace(VIA, b"Content-Length: 1\r\n" + VIA) + b"x",
            b"",
        ),
        (GET, GET_ORIGIN, b"HTTP/1.1"),
    ],
    ids=["not idempotent", "with a body", "answered"],
)
def test_a_request_that_may_have_been_carried_out_is_not_sent_again(
    run: Run, request_: bytes, at_origin: bytes, answer: bytes
) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await serve_get(served, remote)
            await served.client.send(request_)
            await expect(remote, at_origin)
            if answer:
                await remote.send(answer)
            await remote.aclose()
            await expect(served.client, BROKE)
        assert len(connection.requests) == 1

    run(scene())


def test_an_unreachable_origin_is_told(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(failures=[ConnectionRefused("no")])
        async with serving(HttpInbound(), connection, GET + GET) as served:
            await expect(served.client, failed(b"502 Bad Gateway", b"connection_refused"))
            await serve_get(served, await connection.remote())

    run(scene())


def test_bodies_of_any_size_go_both_ways(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        body = bytes(range(256)) * 4000
        length = b"Content-Length: %d" % len(body)
        async with serving(HttpInbound(), connection) as served:
            await served.client.send(post(length))
            remote = await connection.remote()
            await expect(remote, post_origin(length))
            for start in range(0, len(body), 8000):
                await served.client.send(body[start : start + 8000])
                await expect(remote, body[start : start + 8000])
            head = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n"
            await remote.send(head + b"\r\n")
            await expect(served.client, head + VIA + b"\r\n")
            for start in range(0, len(body), 8000):
                await remote.send(body[start : start + 8000])
                await expect(served.client, body[start : start + 8000])
            await served.client.send(GET)
            await serve_get(served, remote)

    run(scene())


def test_chunks_go_both_ways(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        chunked = b"Transfer-Encoding: chunked"
        async with serving(HttpInbound(), connection, post(chunked, body=b"3\r\nabc\r\n")) as served:
            remote = await connection.remote()
            await expect(remote, post_origin(chunked, body=b"3\r\nabc\r\n"))
            await served.client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
            await expect(remote, b"0\r\n\r\n")
            await remote.send(b"HTTP/1.1 200 OK\r\n" + chunked + b"\r\n\r\n2\r\nok\r\n")
            await expect(served.client, b"HTTP/1.1 200 OK\r\n" + VIA + chunked + b"\r\n\r\n2\r\nok\r\n")
            await remote.send(b"0\r\n\r\n")
            await expect(served.client, b"0\r\n\r\n")

    run(scene())


def test_a_client_may_wait_for_100_continue(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        fields = (b"Content-Length: 2", b"Expect: 100-continue")
        async with serving(HttpInbound(), connection, post(*fields)) as served:
            remote = await connection.remote()
            await expect(remote, post_origin(*fields))
            await remote.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await expect(served.client, b"HTTP/1.1 100 Continue\r\n" + VIA + b"\r\n")
            await served.client.send(b"hi")
            await expect(remote, b"hi")
            await remote.send(OK)
            await expect(served.client, OK_CLIENT)

    run(scene())


def test_a_response_before_the_requests_end_ends_the_connection(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, post(b"Content-Length: 5", body=b"12")) as served:
            remote = await connection.remote()
            await expect(remote, post_origin(b"Content-Length: 5", body=b"12"))
            await remote.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n" + VIA + b"Connection: close\r\n\r\n"
            await expect(served.client, head + b"no")
            assert await served.over() is None
            assert await remote.receive() == b""

    run(scene())


def test_an_origin_that_takes_no_more_may_still_answer(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        near_full = b"x" * 65536
        async with serving(
            HttpInbound(), connection, post(b"Content-Length: 1000000", body=near_full)
        ) as served:
            remote = await connection.remote()
            await remote.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n" + VIA + b"Connection: close\r\n\r\n"
            await expect(served.client, head + b"no")
            assert await served.over() is None

    run(scene())


def test_a_switch_of_protocols_makes_a_tunnel(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
        async with serving(HttpInbound(), connection, GET[:-2] + upgrade + b"\r\nmine") as served:
            remote = await connection.remote()
            await expect(remote, GET_ORIGIN.replace(VIA, upgrade + VIA))
            await remote.send(b"HTTP/1.1 101 Switching\r\n" + upgrade + b"\r\nyours")
            await expect(served.client, b"HTTP/1.1 101 Switching\r\n" + upgrade + VIA + b"\r\nyours")
            tunnel = await served.over()
            assert tunnel is not None
            assert tunnel.initial_data == b"mine"
            await tunnel.remote.send(b"more")
            await expect(remote, b"more")

    run(scene())


def test_a_switch_without_data_makes_a_tunnel(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
        async with serving(HttpInbound(), connection, GET[:-2] + upgrade + b"\r\n") as served:
            remote = await connection.remote()
            await remote.send(b"HTTP/1.1 101 Switching\r\n" + upgrade + b"\r\n")
            tunnel = await served.over()
            assert tunnel is not None
            assert tunnel.initial_data == b""

    run(scene())


def test_a_long_body_lets_others_have_their_turn(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        pieces = b"".join(b"1\r\nx\r\n" for _ in range(100))
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await remote.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
            )
            head = b"HTTP/1.1 200 OK\r\n" + VIA + b"Transfer-Encoding: chunked\r\n\r\n"
            await expect(served.client, head + pieces + b"0\r\n\r\n")

    run(scene())
