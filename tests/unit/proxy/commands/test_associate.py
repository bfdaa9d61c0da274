"""UDP ASSOCIATE: what is told of stack options is true of the datagrams."""

import errno
import os
import socket

import pytest

from socks6.errors import GeneralFailure
from socks6.message.codes import Availability, Command, Leg
from socks6.message.options import NoFragmentation, StackOption
from socks6.net.direct import DirectOutbound
from socks6.net.sockets import SocketStream
from socks6.net.stream import ByteStream
from socks6.policy.rules import Policy
from socks6.proxy.commands import associate as commands_associate
from socks6.proxy.commands.associate import associate
from socks6.proxy.inbounds.base import Call
from tests.kit.footprint import Footprint
from tests.kit.loops import Run


def unfragmented(leg: Leg, availability: Availability) -> StackOption:
    return NoFragmentation(leg=leg, availability=availability)


def client_stream() -> tuple[ByteStream, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        near.setblocking(False)
        far, _ = server.accept()
    return SocketStream(near), far


def test_datagrams_to_the_client_may_be_fragmented_whatever_its_connection_does(run: Run) -> None:
    async def scene() -> None:
        stream, far = client_stream()
        outbound = DirectOutbound()
        call = Call(
            command=Command.UDP_ASSOCIATE,
            host="127.0.0.1",
            port=0,
            options=(unfragmented(Leg.BOTH, Availability.YES),),
        )
        try:
            association = await associate(
                call, policy=Policy(allow_private=True), outbound=outbound, client=stream
            )
            assert set(association.options) == {
                unfragmented(Leg.CLIENT_PROXY, Availability.NO),
                unfragmented(Leg.PROXY_REMOTE, Availability.YES),
            }
            await association.channel.aclose()
        finally:
            far.close()
            stream.abort()
            await outbound.aclose()

    run(scene())


@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), ValueError("ours")])
def test_a_port_whose_options_cannot_be_told_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    async def scene() -> None:
        monkeypatch.setattr(commands_associate, "merge_legs", fail)
        stream, far = client_stream()
        outbound = DirectOutbound()
        call = Call(command=Command.UDP_ASSOCIATE, host="127.0.0.1", port=0)
        before = Footprint.of().descriptors
        with pytest.raises(GeneralFailure if isinstance(fault, OSError) else ValueError):
            await associate(call, policy=Policy(allow_private=True), outbound=outbound, client=stream)
        await outbound.aclose()
        assert Footprint.of().descriptors <= before
        far.close()
        stream.abort()

    run(scene())
