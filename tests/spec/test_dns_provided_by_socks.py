"""§ DNS provided by SOCKS."""

import asyncio

import pytest

from socks6.message.codes import Command
from socks6.message.requests import Request
from socks6.net.direct import DirectOutbound
from socks6.net.stream import Endpoint
from socks6.policy.rules import Policy, Rule
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.reading import receive_all, receive_exactly

POLICIES = {"strangers": Policy(), "friends": Policy(allow_private=True)}
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


async def answer_of(host: str, port: int, policy: Policy, outbound: DirectOutbound) -> str:
    """Return all that a proxy says to a CONNECT."""
    near, far = memory_stream_pair()
    worker = ServerWorker(outbound=outbound, policy=policy)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.serve_stream(far))
        await near.send(Request(command=Command.CONNECT, host=host, port=port).encode())
        await near.send_eof()
        answer = await receive_all(near)
    await worker.aclose()
    return answer.hex()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("host", LOCAL)
def test_without_the_service_a_client_is_told_connection_refused(run: Run, host: str, policy: str) -> None:
    async def scene() -> None:
        answer = await answer_of(host, 53, POLICIES[policy], DirectOutbound())
        assert answer == "06000000" + "060500000000000100000000"

    run(scene())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("host", LOCAL)
def test_another_port_of_no_address_is_not_allowed(run: Run, host: str, policy: str) -> None:
    async def scene() -> None:
        answer = await answer_of(host, 80, POLICIES[policy], DirectOutbound())
        assert answer == "06000000" + "060200000000000100000000"

    run(scene())


@pytest.mark.parametrize("host", LOCAL)
def test_the_service_is_the_configured_resolver_under_no_address(run: Run, host: str) -> None:
    async def scene() -> None:
        async def resolver(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"answer to " + await reader.readexactly(5))
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(resolver, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            near, far = memory_stream_pair()
            worker = ServerWorker(outbound=DirectOutbound(dns_server=Endpoint("127.0.0.1", port)))
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.serve_stream(far))
                await near.send(Request(command=Command.CONNECT, host=host, port=53).encode() + b"query")
                success = bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")
                assert await receive_exactly(near, 16) == success
                assert await receive_exactly(near, 15) == b"answer to query"
                await near.aclose()
            await worker.aclose()

    run(scene())


def test_rules_may_forbid_the_service(run: Run) -> None:
    async def scene() -> None:
        policy = Policy(rules=(Rule.parse("deny", ports=["53"]),))
        answer = await answer_of("0.0.0.0", 53, policy, DirectOutbound(dns_server=Endpoint("127.0.0.1", 53)))
        assert answer == "06000000" + "060200000000000100000000"

    run(scene())
