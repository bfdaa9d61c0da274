"""CONNECT and UDP ASSOCIATE: rules first, then the outbound; and the stack options of the answer."""

import errno
import os
import socket

import pytest

from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.codes import Availability, Command, Leg
from socks6.message.options import NoFragmentation, StackOption, Ttl
from socks6.net.direct import DirectOutbound
from socks6.net.sockets import SocketStream
from socks6.net.stream import ByteStream
from socks6.policy.rules import Policy, Rule
from socks6.proxy import commands
from socks6.proxy.commands import ProxyRequest, associate, connect
from tests.kit.footprint import Footprint
from tests.kit.loops import Run
from tests.kit.outbounds import BOUND, ConnectedSocket, ScriptedOutbound

ONLY_TEN = Policy(rules=(Rule.parse("allow", hosts=["10.0.0.0/8"]), Rule.parse("deny")))


def request_for(host: str, port: int = 80) -> ProxyRequest:
    return ProxyRequest(command=Command.CONNECT, host=host, port=port, initial_data=b"hi")


def test_what_is_allowed_is_dialled_as_it_was_asked(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        connection = await connect(request_for("example.com"), policy=Policy(), outbound=outbound)
        assert connection.bound == BOUND
        assert outbound.dialled == [ConnectedSocket("example.com", 80, (), b"hi")]

    run(scene())


def test_a_refused_name_is_never_dialled(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        policy = Policy(rules=(Rule.parse("deny", hosts=[".example.com"]),))
        with pytest.raises(NotAllowed):
            await connect(request_for("www.example.com"), policy=policy, outbound=outbound)
        assert outbound.dialled == []

    run(scene())


def test_a_name_that_leads_to_a_private_address_is_refused(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(addresses=("192.168.0.1",))
        with pytest.raises(NotAllowed):
            await connect(request_for("rebound.example"), policy=Policy(), outbound=outbound)

    run(scene())


def test_a_name_may_be_redeemed_by_its_address(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(addresses=("10.1.2.3",))
        await connect(request_for("intranet.example"), policy=ONLY_TEN, outbound=outbound)

    run(scene())


def test_nobody_redeems_a_name_that_another_proxy_resolves(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(resolves=False)
        with pytest.raises(NotAllowed):
            await connect(request_for("intranet.example"), policy=ONLY_TEN, outbound=outbound)

    run(scene())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_dns_service_is_the_outbounds_to_give(run: Run, host: str) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        await connect(request_for(host, 53), policy=Policy(), outbound=outbound)
        assert outbound.dialled == [ConnectedSocket(host, 53, (), b"hi")]

    run(scene())


def test_the_dns_service_opens_no_address(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(NotAllowed):
            await connect(
                request_for("0.0.0.0", 53), policy=Policy(), outbound=ScriptedOutbound(addresses=("0.0.0.0",))
            )

    run(scene())


def test_no_other_service_hides_behind_no_address(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(NotAllowed):
            await connect(request_for("0.0.0.0", 80), policy=Policy(), outbound=ScriptedOutbound())

    run(scene())


@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), ValueError("ours")])
def test_a_connection_whose_options_cannot_be_told_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    async def scene() -> None:
        monkeypatch.setattr(commands, "option_answers", fail)
        outbound = ScriptedOutbound()
        asked = ProxyRequest(
            command=Command.CONNECT, host="example.com", port=80, options=(Ttl(leg=2, ttl=9),)
        )
        with pytest.raises(GeneralFailure if isinstance(fault, OSError) else ValueError):
            await connect(asked, policy=Policy(), outbound=outbound)
        with pytest.raises(ConnectionError):
            await outbound.far.receive()

    run(scene())


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
        request = ProxyRequest(
            command=Command.UDP_ASSOCIATE,
            host="127.0.0.1",
            port=0,
            options=(unfragmented(Leg.BOTH, Availability.YES),),
        )
        try:
            association = await associate(
                request, policy=Policy(allow_private=True), outbound=outbound, client=stream
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
        monkeypatch.setattr(commands, "merge_legs", fail)
        stream, far = client_stream()
        outbound = DirectOutbound()
        request = ProxyRequest(command=Command.UDP_ASSOCIATE, host="127.0.0.1", port=0)
        before = Footprint.of().descriptors
        with pytest.raises(GeneralFailure if isinstance(fault, OSError) else ValueError):
            await associate(request, policy=Policy(allow_private=True), outbound=outbound, client=stream)
        await outbound.aclose()
        assert Footprint.of().descriptors <= before
        far.close()
        stream.abort()

    run(scene())
