"""Waiting for somebody to connect to a place that was bound, as long as the client is there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from socks6.errors import OperationFailed
from socks6.net.machine_io import flush
from socks6.net.stream import AcceptedPeer, Binding, ByteStream
from socks6.protocol.machine import Machine
from socks6.proxy.inbounds.base import Call, Engine, Tunnel
from socks6.telemetry import Ending

EventT = TypeVar("EventT")

EARLY_BYTES: Final = 65_536  # of the stream, ahead of the peer; then the client is read no further


class ClientLeft(Exception):
    """The client closed its side, or its stream broke."""

    def __init__(self, reason: str, *, broke: bool) -> None:
        super().__init__(reason)
        self.ending: Final = Ending.RESET if broke else Ending.DONE


async def await_peer(
    machine: Machine[EventT],
    stream: ByteStream,
    engine: Engine,
    binding: Binding,
    call: Call,
    *,
    succeed: Callable[[AcceptedPeer], None],
    fail: Callable[[int], None],
) -> Tunnel | None:
    """Wait for a peer and answer the second time; None when there is nothing to relay.

    `succeed` and `fail` queue the inbound's answer, `fail` for a SOCKS 6 reply code.
    """
    loop = asyncio.get_running_loop()
    try:
        accepted = await accept_while_present(
            binding, stream, lambda data: machine.receive_data(data, loop.time())
        )
    except ClientLeft as left:
        machine.receive_eof(loop.time())
        engine.refused(left.ending, str(left))
        return None
    except OperationFailed as failure:
        engine.answered(at_place(call, binding), failure.code, failure.reason)
        fail(failure.code)
        return None
    try:
        engine.peer_came(accepted.peer)
        succeed(accepted)
        await flush(machine, stream)
    except BaseException:
        accepted.stream.abort()
        raise
    return Tunnel(remote=accepted.stream, first=call.first_data + machine.unread())


def at_place(call: Call, binding: Binding) -> Call:
    """Return a call as the log tells of it: where it is bound."""
    return replace(call, host=binding.bound.host, port=binding.bound.port)


async def accept_while_present(
    binding: Binding, stream: ByteStream, keep: Callable[[bytes], None]
) -> AcceptedPeer:
    """Wait for a peer; `keep` gets what the client sends meanwhile. Raises OperationFailed, ClientLeft."""
    arrived: list[AcceptedPeer] = []

    async def accept() -> None:
        arrived.append(await binding.accept())

    try:
        await while_present(stream, accept, keep, EARLY_BYTES)
    except BaseException:
        for accepted in arrived:
            accepted.stream.abort()
        raise
    return arrived[0]


async def while_present(
    stream: ByteStream,
    work: Callable[[], Awaitable[None]],
    keep: Callable[[bytes], None],
    limit: int | None = None,
) -> None:
    """Work until it is done, or the client leaves. Raises ClientLeft, and what `work` raises, in no group.

    `keep` gets what the client sends. With a `limit`, so many bytes are read, and then no more: a client that
    has sent so much is found to have left only when it is written to.
    """
    failure: Exception | None = None
    left: ClientLeft | None = None
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(stream, keep, limit), name="client of a BIND")
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - raised again, without a group around it
                failure = error
            watching.cancel()
    except* ClientLeft as leavings:
        left = next(error for error in leavings.exceptions if isinstance(error, ClientLeft))
    except* Exception as others:  # noqa: BLE001 - as above
        failure = failure or others.exceptions[0]
    if left is not None:
        raise left
    if failure is not None:
        raise failure


async def _watch(stream: ByteStream, keep: Callable[[bytes], None], limit: int | None) -> None:
    left = limit
    while left is None or left > 0:
        try:
            data = await stream.receive(65_536 if left is None else left)
        except OSError as error:
            raise ClientLeft(str(error), broke=True) from error
        if not data:
            raise ClientLeft("the client closed its side", broke=False)
        keep(data)
        if left is not None:
            left -= len(data)
