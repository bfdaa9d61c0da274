"""BIND in the SOCKS 4 and 5 inbound."""

import pytest

from socks6.errors import ConnectionTimedOut, NotAllowed
from socks6.net.stream import Endpoint
from socks6.proxy.inbounds.socks5 import Socks5Inbound
from socks6.telemetry import Ending
from tests.kit.bindings import ScriptedBinding
from tests.kit.connection import ScriptedConnection, expect, serving
from tests.kit.loops import Run

GREETING = bytes.fromhex("05 01 00")
PLACE = Endpoint("192.0.2.9", 4000)
PEER = Endpoint("192.0.2.1", 20)
BIND5, BIND4 = bytes.fromhex("05 02 00 01 c0000201 0014"), bytes.fromhex("04 02 0014 c0000201 00")
FIRST5, FIRST4 = bytes.fromhex("05 00  05 00 00 01 c0000209 0fa0"), bytes.fromhex("00 5a 0fa0 c0000209")
SECOND5, SECOND4 = bytes.fromhex("05 00 00 01 c0000201 0014"), bytes.fromhex("00 5a 0014 c0000201")


def listening() -> tuple[ScriptedConnection, ScriptedBinding]:
    connection = ScriptedConnection()
    connection.binding = binding = ScriptedBinding(bound=PLACE)
    return connection, binding


@pytest.mark.parametrize(
    ("request_", "first", "second"), [(GREETING + BIND5, FIRST5, SECOND5), (BIND4, FIRST4, SECOND4)]
)
def test_both_replies_and_what_came_early(run: Run, request_: bytes, first: bytes, second: bytes) -> None:
    async def scene() -> None:
        connection, binding = listening()
        async with serving(Socks5Inbound(), connection, request_ + b"ear") as served:
            await expect(served.client, first)
            await served.client.send(b"ly")
            far = binding.arrive(PEER)
            await expect(served.client, second)
            tunnel = await served.over()
            assert tunnel is not None
            assert tunnel.take_initial_data() == b"early"[: len(tunnel.initial_data) or 5]
            await tunnel.remote.send(b"hello")
            await expect(far, b"hello")
        assert connection.peers == [PEER]
        assert binding.closed

    run(scene())


@pytest.mark.parametrize(
    ("address", "place", "peer"),
    [
        ("01 c0000201 0014", Endpoint("0.0.0.0", 0), "192.0.2.1"),
        ("04 20010db8000000000000000000000001 0014", Endpoint("::", 0), "2001:db8::1"),
        ("01 00000000 1f90", Endpoint("0.0.0.0", 8080), ""),
        ("04 00000000000000000000000000000000 1f90", Endpoint("::", 8080), ""),
        ("04 00000000000000000000ffffc0000201 0014", Endpoint("0.0.0.0", 0), "192.0.2.1"),
        ("03 09 612e6578616d706c65 0014", Endpoint("0.0.0.0", 0), ""),
    ],
)
def test_a_request_names_who_will_connect_or_else_the_port(
    run: Run, address: str, place: Endpoint, peer: str
) -> None:
    async def scene() -> None:
        connection, _ = listening()
        async with serving(
            Socks5Inbound(), connection, GREETING + bytes.fromhex("05 02 00") + bytes.fromhex(address)
        ):
            pass
        (request,) = connection.requests
        assert (Endpoint(request.host, request.port), request.only_peer) == (place, peer)

    run(scene())


def test_a_place_that_is_not_to_be_had(run: Run) -> None:
    async def scene() -> None:
        connection = ScriptedConnection(failures=[NotAllowed("no")])
        async with serving(Socks5Inbound(), connection, GREETING + BIND5) as served:
            await expect(served.client, bytes.fromhex("05 00  05 02 00 01 00000000 0000"))
            assert await served.over() is None

    run(scene())


def test_nobody_in_time(run: Run) -> None:
    async def scene() -> None:
        connection, binding = listening()
        binding.fail(ConnectionTimedOut("no peer connected in time"))
        async with serving(Socks5Inbound(), connection, GREETING + BIND5) as served:
            await expect(served.client, FIRST5 + bytes.fromhex("05 04 00 01 00000000 0000"))
            assert await served.over() is None
        assert connection.answers == [(9, "no peer connected in time")]
        assert binding.closed

    run(scene())


def test_a_client_that_leaves_is_not_waited_for(run: Run) -> None:
    async def scene() -> None:
        connection, binding = listening()
        async with serving(Socks5Inbound(), connection, GREETING + BIND5) as served:
            await expect(served.client, FIRST5)
            await served.client.send_eof()
            assert await served.over() is None
        assert connection.refusals == [(Ending.DONE, "the client closed its side")]
        assert binding.closed

    run(scene())
