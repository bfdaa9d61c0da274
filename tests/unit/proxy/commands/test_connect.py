"""CONNECT: rules first, then the way out."""

import errno
import os

import pytest

from socks6.errors import GeneralFailure, NotAllowed
from socks6.message.codes import Command
from socks6.message.options import Ttl
from socks6.policy.rules import Policy, Rule
from socks6.proxy.commands import connect as commands_connect
from socks6.proxy.commands.connect import connect
from socks6.proxy.inbounds.base import Call
from tests.kit.loops import Run
from tests.kit.outbounds import BOUND, ConnectedSocket, ScriptedOutbound

ONLY_TEN = Policy(rules=(Rule.parse("allow", hosts=["10.0.0.0/8"]), Rule.parse("deny")))


def call(host: str, port: int = 80) -> Call:
    return Call(command=Command.CONNECT, host=host, port=port, first_data=b"hi")


def test_what_is_allowed_is_dialled_as_it_was_asked(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        connection = await connect(call("example.com"), policy=Policy(), outbound=outbound)
        assert connection.bound == BOUND
        assert outbound.dialled == [ConnectedSocket("example.com", 80, (), b"hi")]

    run(scene())


def test_a_refused_name_is_never_dialled(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        policy = Policy(rules=(Rule.parse("deny", hosts=[".example.com"]),))
        with pytest.raises(NotAllowed):
            await connect(call("www.example.com"), policy=policy, outbound=outbound)
        assert outbound.dialled == []

    run(scene())


def test_a_name_that_leads_to_a_private_address_is_refused(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(addresses=("192.168.0.1",))
        with pytest.raises(NotAllowed):
            await connect(call("rebound.example"), policy=Policy(), outbound=outbound)

    run(scene())


def test_a_name_may_be_redeemed_by_its_address(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(addresses=("10.1.2.3",))
        await connect(call("intranet.example"), policy=ONLY_TEN, outbound=outbound)

    run(scene())


def test_nobody_redeems_a_name_that_another_proxy_resolves(run: Run) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound(resolves=False)
        with pytest.raises(NotAllowed):
            await connect(call("intranet.example"), policy=ONLY_TEN, outbound=outbound)

    run(scene())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_dns_service_is_the_outbounds_to_give(run: Run, host: str) -> None:
    async def scene() -> None:
        outbound = ScriptedOutbound()
        await connect(call(host, 53), policy=Policy(), outbound=outbound)
        assert outbound.dialled == [ConnectedSocket(host, 53, (), b"hi")]

    run(scene())


def test_the_dns_service_opens_no_address(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(NotAllowed):
            await connect(
                call("0.0.0.0", 53), policy=Policy(), outbound=ScriptedOutbound(addresses=("0.0.0.0",))
            )

    run(scene())


def test_no_other_service_hides_behind_no_address(run: Run) -> None:
    async def scene() -> None:
        with pytest.raises(NotAllowed):
            await connect(call("0.0.0.0", 80), policy=Policy(), outbound=ScriptedOutbound())

    run(scene())


@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), ValueError("ours")])
def test_a_connection_whose_options_cannot_be_told_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    async def scene() -> None:
        monkeypatch.setattr(commands_connect, "whole_truth", fail)
        outbound = ScriptedOutbound()
        asked = Call(command=Command.CONNECT, host="example.com", port=80, options=(Ttl(leg=2, ttl=9),))
        with pytest.raises(GeneralFailure if isinstance(fault, OSError) else ValueError):
            await connect(asked, policy=Policy(), outbound=outbound)
        with pytest.raises(ConnectionError):
            await outbound.far.receive()

    run(scene())
