"""§ Handling CONNECT."""

import asyncio
from collections.abc import Hashable

import pytest
from typing_extensions import override

from socks6.message.codes import Command
from socks6.message.options import AuthenticationMethodAdvertisement, StackOption
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.stream import ConnectResult, Judge
from socks6.protocol.events import AuthenticationAccepted, OperationAnswered
from socks6.protocol.states import ClientState, ServerState
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import BOUND, ScriptedOutbound
from tests.kit.playbook import received, sent
from tests.kit.reading import receive_all, receive_exactly
from tests.kit.scenes import admitted, asking

CONNECTED = OperationReply(code=0, host=BOUND.host, port=BOUND.port)
CONNECTED_HEX = CONNECTED.encode().hex()
REQUEST = Request(command=Command.CONNECT, host="example.com", port=80)
ANSWER = bytes.fromhex("06 00 0000") + CONNECTED.encode()


def test_after_success_data_can_pass() -> None:
    scene = asking()
    scene >> received("06 00 0000", CONNECTED_HEX)
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)
    scene << OperationAnswered(reply=CONNECTED)
    assert scene.machine.state is ClientState.STREAMING


def test_after_success_the_proxys_conversation_is_out_of_the_way() -> None:
    scene = admitted()
    scene.machine.send_reply(CONNECTED)
    scene << sent(CONNECTED_HEX)
    assert scene.machine.state is ServerState.STREAMING
    assert scene.machine.bytes_wanted() == 0
    assert scene.machine.next_timeout() is None


def test_success_is_told_only_when_the_remote_answered(run: Run) -> None:
    async def scene() -> None:
        class Watched(ScriptedOutbound):
            @override
            async def connect(
                self,
                host: str,
                port: int,
                *,
                judge: Judge,
                options: tuple[StackOption, ...] = (),
                first_data: bytes = b"",
                holder: Hashable = None,
            ) -> ConnectResult:
                seen.append(client.receive_nowait(100))
                return await super().connect(host, port, judge=judge)

        seen: list[bytes | None] = []
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            outbound = Watched()
            group.create_task(ServerWorker(outbound=outbound).serve_stream(server))
            await client.send(REQUEST.encode())
            await client.send_eof()
            assert await receive_exactly(client, 12) == CONNECTED.encode()
            client.abort()
            outbound.far.abort()
        assert seen == [bytes.fromhex("06 00 0000")]

    run(scene())


def test_what_came_with_the_request_reaches_the_remote_first_and_once(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=outbound).serve_stream(server))
            await client.send(REQUEST.encode() + b"first ")
            assert await receive_exactly(client, len(ANSWER)) == ANSWER
            await client.send(b"second")
            await client.send_eof()
            assert await receive_all(outbound.far) == b"first second"
            await outbound.far.aclose()
            assert await receive_all(client) == b""

    run(scene())


def test_initial_data_reaches_the_remote_when_nobody_asks_for_authentication(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        option = AuthenticationMethodAdvertisement(methods=(0x80,), initial_data_length=5)
        request = Request(command=Command.CONNECT, host="example.com", port=80, options=(option,))
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=outbound).serve_stream(server))
            await client.send(request.encode() + b"GET /")
            assert await receive_exactly(client, len(ANSWER)) == ANSWER
            await client.send_eof()
            assert await receive_all(outbound.far) == b"GET /"
            await outbound.far.aclose()
            assert await receive_all(client) == b""

    run(scene())


def test_a_half_close_passes_both_ways(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=outbound).serve_stream(server))
            await client.send(REQUEST.encode())
            assert await receive_exactly(client, len(ANSWER)) == ANSWER
            await client.send_eof()
            assert await receive_all(outbound.far) == b""
            await outbound.far.send(b"late")
            await outbound.far.send_eof()
            assert await receive_all(client) == b"late"

    run(scene())


def test_fast_open_must_not_be_used_unless_requested(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=outbound).serve_stream(server))
            await client.send(REQUEST.encode())
            await receive_exactly(client, len(ANSWER))
            client.abort()
        assert (
            outbound.dialled[0].options == ()
        )  # the outbound is told of no option that the client did not send

    run(scene())


@pytest.mark.parametrize("address", ["224.0.0.1", "239.1.2.3"])
def test_multicast_is_for_udp_only(run: Run, address: str) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        client, server = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=outbound).serve_stream(server))
            await client.send(Request(command=Command.CONNECT, host=address, port=80).encode())
            await client.send_eof()
            assert await receive_all(client) == bytes.fromhex("06 00 0000  06 02 0000 0000 00 01 00000000")
        assert outbound.dialled == []

    run(scene())
