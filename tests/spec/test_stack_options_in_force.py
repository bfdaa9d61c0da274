"""§ Stack options, as a server on this machine honours them; packets are looked at in tests/e2e/test_stack_*."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from socks6.client.client import Client
from socks6.client.options import StackOptions
from socks6.message.codes import Availability
from socks6.message.options import HappyEyeballs, Multipath, StackOption, Tfo
from socks6.net.direct import DirectOutbound
from socks6.net.stackopts.adapter import is_multipath
from socks6.policy.rules import Policy
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run


@asynccontextmanager
async def connected(
    host: str, asked: StackOptions, *, data: bytes = b"", outbound: DirectOutbound | None = None
) -> AsyncIterator[tuple[tuple[StackOption, ...], socket.socket]]:
    """Connect to this machine; give what the server answers, and the remote's end."""
    worker = ServerWorker(policy=Policy(allow_private=True), outbound=outbound)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as remote:
        remote.setblocking(False)
        async with Server(["socks6://127.0.0.1:0"], worker) as server:
            client = Client(server.urls[0])
            port = remote.getsockname()[1]
            async with await client.connect(host, port, options=asked, initial_data=data) as stream:
                connection, _ = await loop.sock_accept(remote)
                with connection:
                    yield stream.options, connection


def test_happy_eyeballs_must_be_ignored_without_a_domain_name(run: Run) -> None:
    async def scene() -> None:
        async with connected("127.0.0.1", StackOptions(happy_eyeballs=True)) as (told, _):
            assert told == ()

    run(scene())


def test_happy_eyeballs_are_told_to_have_been_attempted_only_if_they_were(run: Run) -> None:
    async def scene() -> None:
        async with connected("localhost", StackOptions(happy_eyeballs=False)) as (told, _):
            assert told == (HappyEyeballs(availability=Availability.NO),)

    run(scene())


@pytest.mark.parametrize("size", [0, 3, 1400])
def test_tfo_must_not_use_a_larger_payload_than_indicated(run: Run, size: int) -> None:
    async def scene() -> None:
        async with connected("127.0.0.1", StackOptions(tfo=size), data=b"hello") as (told, remote):
            (option,) = told
            assert isinstance(option, Tfo)
            assert option.payload_size <= (size or 5)
            assert await asyncio.get_running_loop().sock_recv(remote, 5) == b"hello"

    run(scene())


def test_multipath_is_not_enabled_unasked(run: Run) -> None:
    async def scene() -> None:
        async with connected("127.0.0.1", StackOptions()) as (told, remote):
            assert told == ()
            assert not is_multipath(remote)

    run(scene())


def test_multipath_is_told_to_be_available_only_where_it_is(run: Run) -> None:
    async def scene() -> None:
        async with connected("127.0.0.1", StackOptions(multipath=True)) as (told, _):
            assert told == (Multipath(availability=Availability.NO),)  # the remote is a plain socket

    run(scene())
