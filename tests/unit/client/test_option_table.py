"""Stack options that a user of the library adds, from the client to the proxy's outbound and back."""

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass

from typing_extensions import override

import socks6.message
from socks6.message import STANDARD, Number, OptionTable, StackOption, UnknownOption
from socks6.net.stream import ConnectResult, Judge
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.proxied import proxied


@dataclass(frozen=True, slots=True, kw_only=True)
class Congestion(StackOption):
    """Which congestion control to use."""

    level, code, name = 4, 200, "congestion"
    numbers = (Number("number", size=2, high=0xFFFF),)

    number: int


TABLE = STANDARD.extended(Congestion)


class KnowingOutbound(ScriptedOutbound):
    """Does what the option asks for, but for one number less."""

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
        connection = await super().connect(
            host, port, judge=judge, options=options, first_data=first_data, holder=holder
        )
        done = tuple(
            dataclasses.replace(option, number=option.number - 1)
            for option in options
            if isinstance(option, Congestion)
        )
        return dataclasses.replace(connection, options=done)


def test_an_option_of_ones_own_reaches_the_outbound_and_its_answer_the_client(run: Run) -> None:
    async def scene() -> None:
        outbound = KnowingOutbound()
        worker = ServerWorker(outbound=outbound, option_table=TABLE)
        async with proxied(worker, option_table=TABLE) as client:
            stream = await client.connect("a.example", 80, options=[Congestion(leg=2, number=7)])
            stream.abort()
            outbound.far.abort()
            assert outbound.dialled[0].options == (Congestion(leg=2, number=7),)
            assert stream.options == (Congestion(leg=2, number=6),)

    run(scene())


def test_a_proxy_that_does_not_know_it_leaves_it_out(run: Run) -> None:
    async def scene() -> None:
        outbound = KnowingOutbound()
        async with proxied(ServerWorker(outbound=outbound), option_table=TABLE) as client:
            stream = await client.connect("a.example", 80, options=[Congestion(leg=2, number=7)])
            stream.abort()
            outbound.far.abort()
            assert outbound.dialled[0].options == ()
            assert stream.options == ()

    run(scene())


def test_the_message_package_has_all_that_one_needs_for_it() -> None:
    table: OptionTable = socks6.message.STANDARD.extended(Congestion)
    request = socks6.message.Request(
        command=socks6.message.Command.CONNECT, host="a", port=1, options=(Congestion(leg=2, number=7),)
    )
    data = request.encode()
    assert socks6.message.Request.decode(data, socks6.message.DRAFT_12, table) == request
    assert isinstance(socks6.message.Request.decode(data).options[0], UnknownOption)
    assert sorted(socks6.message.__all__) == sorted(set(socks6.message.__all__))
