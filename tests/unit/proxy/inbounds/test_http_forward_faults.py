"""Forwarding requests for plain http: who breaks off, and what it does to the others."""

import asyncio

import pytest

from socks6.proxy.inbounds.http import HttpInbound, HttpSettings
from tests.kit.engine import FakeEngine, expect, visiting
from tests.kit.http import BROKE, GET, GET_ORIGIN, OK, OK_CLIENT, VIA, failed, post, post_origin, serve_get
from tests.kit.loops import Run
from tests.kit.reading import receive_all


async def taken() -> None:
    """Wait until the inbound has read what its client said: it does so as soon as it gets its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_origin_that_breaks_off_in_mid_request_is_told(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, post(b"Content-Length: 5", body=b"12")) as visit:
            remote = await engine.remote()
            await expect(remote, post_origin(b"Content-Length: 5", body=b"12"))
            remote.abort()
            await expect(visit.client, BROKE)
            await visit.client.send(b"345" + GET)  # the rest of the refused request is skipped
            await serve_get(visit, await engine.remote())
        assert engine.answers == [(1, "the origin broke the connection off")]

    run(scene())


def test_a_malformed_response_is_told(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, GET) as visit:
            await (await engine.remote()).send(b"nonsense\r\n\r\n")
            await expect(visit.client, failed(b"502 Bad Gateway", b"http_protocol_error"))
        assert engine.answers == [(1, "the origin's response is malformed")]

    run(scene())


@pytest.mark.parametrize("end", ["closed", "reset", "rubbish"])
def test_a_response_that_breaks_off_breaks_the_clients_connection(run: Run, end: str) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, GET) as visit:
            remote = await engine.remote()
            await remote.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await expect(
                visit.client, b"HTTP/1.1 200 OK\r\n" + VIA + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
            )
            match end:
                case "closed":
                    await remote.send_eof()
                case "reset":
                    remote.abort()
                case _:
                    await remote.send(b"zzz\r\n")
            with pytest.raises(ConnectionAbortedError):
                await visit.over()
            with pytest.raises(ConnectionError):
                await visit.client.receive()

    run(scene())


def test_a_silent_origin_is_given_up(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(HttpSettings(idle_timeout=0.0)), engine, GET + GET) as visit:
            for _ in range(2):
                await expect(visit.client, failed(b"504 Gateway Timeout", b"http_response_timeout"))
        assert engine.answers == [(1, "the origin is silent")] * 2

    run(scene())


def test_a_client_that_has_closed_its_side_gets_its_response(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, GET) as visit:
            await visit.client.send_eof()
            await serve_get(visit, await engine.remote())
            assert await visit.over() is None

    run(scene())


def test_a_client_that_has_closed_its_side_is_not_waited_for_long(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(HttpSettings(fin_timeout=0.0)), engine, GET) as visit:
            remote = await engine.remote()
            await expect(remote, GET_ORIGIN)
            await visit.client.send_eof()
            await expect(visit.client, failed(b"504 Gateway Timeout", b"http_response_timeout"))
            assert await visit.over() is None
            assert await remote.receive() == b""

    run(scene())


@pytest.mark.parametrize("request_", [GET, post(b"Content-Length: 5", body=b"12")])
def test_a_client_that_goes_takes_its_request_along(run: Run, request_: bytes) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, request_) as visit:
            remote = await engine.remote()
            await remote.receive()
            visit.client.abort()
            with pytest.raises(ConnectionError):
                await visit.over()
            with pytest.raises(ConnectionError):
                await receive_all(remote)

    run(scene())


def test_what_a_client_says_too_early_waits_for_its_turn(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, GET) as visit:
            remote = await engine.remote()
            await expect(remote, GET_ORIGIN)
            await visit.client.send(GET)
            await taken()
            await remote.send(OK)
            await expect(visit.client, OK_CLIENT)
            await serve_get(visit, remote)

    run(scene())


def test_a_client_that_takes_no_response_takes_it_along(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, GET) as visit:
            remote = await engine.remote()
            await expect(remote, GET_ORIGIN)
            await visit.client.send(b"more, so that nobody listens now")
            await taken()
            visit.client.abort()
            await remote.send(OK)
            with pytest.raises(ConnectionError):
                await visit.over()

    run(scene())


def test_an_origin_that_takes_no_body_is_told(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        async with visiting(HttpInbound(), engine, post(b"Content-Length: 5", body=b"12")) as visit:
            remote = await engine.remote()
            await expect(remote, post_origin(b"Content-Length: 5", body=b"12"))
            await visit.client.send(b"345")
            await remote.aclose()
            await expect(visit.client, BROKE)

    run(scene())


def test_a_request_that_goes_wrong_is_refused(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        chunked = b"Transfer-Encoding: chunked"
        async with visiting(HttpInbound(), engine, post(chunked, body=b"3\r\nabc\r\n")) as visit:
            remote = await engine.remote()
            await expect(remote, post_origin(chunked, body=b"3\r\nabc\r\n"))
            await visit.client.send(b"zzz\r\n")
            await expect(visit.client, b"HTTP/1.1 400 Bad Request\r\n")
            assert await visit.over() is None
            with pytest.raises(ConnectionError):
                await remote.receive()
        assert engine.answers == [(1, "the client broke off")]

    run(scene())


def test_a_request_that_goes_wrong_in_mid_response_breaks_the_connection(run: Run) -> None:
    async def scene() -> None:
        engine = FakeEngine()
        chunked = b"Transfer-Encoding: chunked"
        async with visiting(HttpInbound(), engine, post(chunked)) as visit:
            remote = await engine.remote()
            await remote.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + VIA + b"Connection: close\r\n\r\n"
            await expect(visit.client, head + b"12")
            await visit.client.send(b"zzz\r\n")
            with pytest.raises(ConnectionAbortedError):
                await visit.over()

    run(scene())
