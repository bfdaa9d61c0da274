"""Forwarding requests for plain http: who breaks off, and what it does to the others."""

import asyncio

import pytest

from socks6.proxy.inbounds.http import HttpInbound
from socks6.proxy.inbounds.http_forward import HttpSettings
from tests.kit.connection import ScriptedConnection, expect, serving
from tests.kit.http import BROKE, GET, GET_ORIGIN, OK, OK_CLIENT, VIA, failed, post, post_origin, serve_get
from tests.kit.loops import Run
from tests.kit.reading import receive_all


async def taken() -> None:
    """Wait until the inbound has read what its client said: it does so as soon as it gets its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_origin_that_breaks_off_in_mid_request_is_told(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, post(b"Content-Length: 5", body=b"12")) as served:
            remote = await connection.remote()
            await expect(remote, post_origin(b"Content-Length: 5", body=b"12"))
            remote.abort()
            await expect(served.client, BROKE)
            await served.client.send(b"345" + GET)  # the rest of the refused request is skipped
            await serve_get(served, await connection.remote())
        assert connection.answers == [(1, "the origin broke the connection off")]

    run(scene())


def test_a_malformed_response_is_told(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            await (await connection.remote()).send(b"nonsense\r\n\r\n")
            await expect(served.client, failed(b"502 Bad Gateway", b"http_protocol_error"))
        assert connection.answers == [(1, "the origin's response is malformed")]

    run(scene())


@pytest.mark.parametrize("end", ["closed", "reset", "rubbish"])
def test_a_response_that_breaks_off_breaks_the_clients_connection(run: Run, end: str) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await remote.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await expect(
                served.client, b"HTTP/1.1 200 OK\r\n" + VIA + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
            )
            match end:
                case "closed":
                    await remote.send_eof()
                case "reset":
                    remote.abort()
                case _:
                    await remote.send(b"zzz\r\n")
            with pytest.raises(ConnectionAbortedError):
                await served.over()
            with pytest.raises(ConnectionError):
                await served.client.receive()

    run(scene())


def test_a_silent_origin_is_given_up(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(HttpSettings(idle_timeout=0.0)), connection, GET + GET) as served:
            for _ in range(2):
                await expect(served.client, failed(b"504 Gateway Timeout", b"http_response_timeout"))
        assert connection.answers == [(1, "the origin is silent")] * 2

    run(scene())


def test_a_client_that_has_closed_its_side_gets_its_response(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            await served.client.send_eof()
            await serve_get(served, await connection.remote())
            assert await served.over() is None

    run(scene())


def test_a_client_that_has_closed_its_side_is_not_waited_for_long(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(HttpSettings(fin_timeout=0.0)), connection, GET) as served:
            remote = await connection.remote()
            await expect(remote, GET_ORIGIN)
            await served.client.send_eof()
            await expect(served.client, failed(b"504 Gateway Timeout", b"http_response_timeout"))
            assert await served.over() is None
            assert await remote.receive() == b""

    run(scene())


@pytest.mark.parametrize("request_", [GET, post(b"Content-Length: 5", body=b"12")])
def test_a_client_that_goes_takes_its_request_along(run: Run, request_: bytes) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, request_) as served:
            remote = await connection.remote()
            await remote.receive()
            served.client.abort()
            with pytest.raises(ConnectionError):
                await served.over()
            with pytest.raises(ConnectionError):
                await receive_all(remote)

    run(scene())


def test_what_a_client_says_too_early_waits_for_its_turn(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await expect(remote, GET_ORIGIN)
            await served.client.send(GET)
            await taken()
            await remote.send(OK)
            await expect(served.client, OK_CLIENT)
            await serve_get(served, remote)

    run(scene())


def test_a_client_that_takes_no_response_takes_it_along(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, GET) as served:
            remote = await connection.remote()
            await expect(remote, GET_ORIGIN)
            await served.client.send(b"more, so that nobody listens now")
            await taken()
            served.client.abort()
            await remote.send(OK)
            with pytest.raises(ConnectionError):
                await served.over()

    run(scene())


def test_an_origin_that_takes_no_body_is_told(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        async with serving(HttpInbound(), connection, post(b"Content-Length: 5", body=b"12")) as served:
            remote = await connection.remote()
            await expect(remote, post_origin(b"Content-Length: 5", body=b"12"))
            await served.client.send(b"345")
            await remote.aclose()
            await expect(served.client, BROKE)

    run(scene())


def test_a_request_that_goes_wrong_is_refused(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        chunked = b"Transfer-Encoding: chunked"
        async with serving(HttpInbound(), connection, post(chunked, body=b"3\r\nabc\r\n")) as served:
            remote = await connection.remote()
            await expect(remote, post_origin(chunked, body=b"3\r\nabc\r\n"))
            await served.client.send(b"zzz\r\n")
            await expect(served.client, b"HTTP/1.1 400 Bad Request\r\n")
            assert await served.over() is None
            with pytest.raises(ConnectionError):
                await remote.receive()
        assert connection.answers == [(1, "the client broke off")]

    run(scene())


def test_a_request_that_goes_wrong_in_mid_response_breaks_the_connection(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection()
        chunked = b"Transfer-Encoding: chunked"
        async with serving(HttpInbound(), connection, post(chunked)) as served:
            remote = await connection.remote()
            await remote.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + VIA + b"Connection: close\r\n\r\n"
            await expect(served.client, head + b"12")
            await served.client.send(b"zzz\r\n")
            with pytest.raises(ConnectionAbortedError):
                await served.over()

    run(scene())
