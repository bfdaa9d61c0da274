"""CONTRIBUTING, "A stack option", followed: SO_PRIORITY under a private number, through the public names alone."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from socks6 import Client, Identity, Leg, Policy, Server, ServerWorker, SocketOption, StackOptions, StackRule
from socks6.message import STANDARD, Level, Number, StackOption, Ttl
from socks6.policy.stack import permit_options
from tests.kit.loops import Run
from tests.kit.proxied import LOOPBACK, echoing

if sys.platform != "linux":
    pytest.skip("SO_PRIORITY is Linux's", allow_module_level=True)

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority(StackOption):
    """Which of its queues the kernel puts packets into."""

    level, code, name = Level.IP.value, 0xF0, "priority"
    numbers = (Number("priority", high=6),)
    adapter = SocketOption(socket.SOL_SOCKET, socket.SO_PRIORITY)

    priority: int


TABLE = STANDARD.extended(Priority)
BOTH = Priority(leg=Leg.BOTH, priority=5)


@asynccontextmanager
async def served(policy: Policy, table: object = TABLE) -> AsyncIterator[tuple[Client, int]]:
    """Give a client of a proxy that knows the options of `table`, and the port of a host that echoes."""
    assert isinstance(table, type(STANDARD))
    async with (
        echoing() as port,
        Server([LOOPBACK], ServerWorker(policy=policy, option_table=table)) as server,
        Client(server.urls[0], option_table=TABLE) as client,
    ):
        yield client, port


def test_it_is_set_on_both_legs_and_the_answer_comes_from_the_sockets(run: Run) -> None:
    async def scene() -> None:
        async with served(Policy(allow_private=True)) as (client, port):
            async with await client.connect("127.0.0.1", port, options=[BOTH, StackOptions(ttl=8)]) as stream:
                assert set(stream.options) == {BOTH, Ttl(leg=Leg.PROXY_REMOTE, ttl=8)}
            async with client.associate(options=[BOTH]) as association:
                assert BOTH in association.options

    run(scene())


def test_a_policy_may_forbid_it_and_the_answer_says_what_is_in_force(run: Run) -> None:
    forbidden = StackRule(forbidden=frozenset((Priority,)))
    assert permit_options((forbidden,), Identity(name=""), (BOTH,)) == ()

    async def scene() -> None:
        async with (
            served(Policy(allow_private=True, stack=(forbidden,))) as (client, port),
            await client.connect("127.0.0.1", port, options=[BOTH]) as stream,
        ):
            assert stream.options == (Priority(leg=Leg.BOTH, priority=0),)

    run(scene())


def test_a_proxy_without_it_leaves_it_out(run: Run) -> None:
    async def scene() -> None:
        async with (
            served(Policy(allow_private=True), STANDARD) as (client, port),
            await client.connect("127.0.0.1", port, options=[BOTH]) as stream,
        ):
            assert stream.options == ()

    run(scene())
