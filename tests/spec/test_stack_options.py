"""§ Stack options: what binds on the wire. That they are applied, and answered truthfully, is in tests/e2e/test_stack_*.py."""

import asyncio
from collections.abc import Hashable

import pytest
from typing_extensions import override

from socks6.message.buffer import Reader
from socks6.message.codes import Command, Level
from socks6.message.dialect import DRAFT_12
from socks6.message.options import (
    STANDARD,
    HandshakeMessage,
    HappyEyeballs,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    Option,
    PortParity,
    StackOption,
    Tfo,
    Tos,
    Ttl,
    UdpError,
    UnknownOption,
    encode_options,
)
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.net.stream import ConnectResult, Endpoint, Judge
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.reading import receive_exactly

CASES: dict[str, tuple[StackOption, str]] = {
    "Tos": (Tos(leg=3, tos=0x10), "0001 0008 c1 01 10 00"),
    "Happy Eyeballs": (HappyEyeballs(availability=2), "0001 0008 81 02 02 00"),
    "Ttl": (Ttl(leg=1, ttl=64), "0001 0008 41 03 40 00"),
    "No Fragmentation": (NoFragmentation(leg=2, availability=1), "0001 0008 81 04 01 00"),
    "Tfo": (Tfo(payload_size=1460), "0001 0008 84 01 05b4"),
    "Multipath": (Multipath(availability=2), "0001 0008 84 02 02 00"),
    "Listen Backlog": (ListenBacklog(backlog=10), "0001 0008 84 03 000a"),
    "UDP Error": (UdpError(availability=2), "0001 0008 85 01 02 00"),
    "Port Parity": (PortParity(parity=1, reserve=1), "0001 0008 85 02 01 01"),
}


def decode(*parts: str, place: HandshakeMessage = HandshakeMessage.REQUEST) -> tuple[Option, ...]:
    return STANDARD.decode(Reader(bytes.fromhex("".join(parts))), place, DRAFT_12)


def ignored(*parts: str) -> bool:
    (found,) = decode(*parts)
    return isinstance(found, UnknownOption)


@pytest.mark.parametrize("name", CASES)
def test_each_is_written_as_its_figure_shows(name: str) -> None:
    option, written = CASES[name]
    assert encode_options((option,)) == bytes.fromhex(written)


@pytest.mark.parametrize("place", [HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY])
@pytest.mark.parametrize("name", CASES)
def test_each_is_read_in_requests_and_operation_replies(name: str, place: HandshakeMessage) -> None:
    option, written = CASES[name]
    assert decode(written, place=place) == (option,)


@pytest.mark.parametrize("name", CASES)
def test_an_authentication_reply_has_no_stack_options(name: str) -> None:
    (found,) = decode(CASES[name][1], place=HandshakeMessage.AUTHENTICATION_REPLY)
    assert isinstance(found, UnknownOption)


def test_the_levels_have_their_numbers() -> None:
    assert {level.name: level.value for level in Level} == {"IP": 1, "IPV4": 2, "IPV6": 3, "TCP": 4, "UDP": 5}


@pytest.mark.parametrize("leg", ["41", "81", "c1"])
def test_a_leg_is_the_first_two_bits(leg: str) -> None:
    (option,) = decode("0001 0008", leg, "01 10 00")
    assert option == Tos(leg=bytes.fromhex(leg)[0] >> 6, tos=0x10)


def test_leg_0_is_none() -> None:
    assert ignored("0001 0008 01 01 10 00")


@pytest.mark.parametrize("start", ["81 05", "82 01", "84 04", "85 03", "80 00", "bf ff"])
def test_an_unsupported_stack_option_must_be_silently_ignored(start: str) -> None:
    assert ignored("0001 0008", start, "0100")


# Contradictions and duplicates.


def test_a_message_must_not_contradict_itself_when_written() -> None:
    with pytest.raises(ValueError, match="contradicts"):
        encode_options((Tos(leg=2, tos=1), Tos(leg=2, tos=2)))


def test_duplicate_information_must_not_be_written() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        encode_options((Ttl(leg=3, ttl=9), Ttl(leg=1, ttl=9)))


def test_of_contradicting_options_the_first_counts() -> None:
    first, second = decode("0001 0008 c1 01 10 00", "0001 0008 81 01 20 00")
    assert first == Tos(leg=3, tos=0x10)
    assert isinstance(second, UnknownOption)


def test_different_legs_do_not_contradict_each_other() -> None:
    options = (Tos(leg=1, tos=1), Tos(leg=2, tos=2))
    assert decode(encode_options(options).hex()) == options


def test_different_options_of_one_leg_do_not_contradict_each_other() -> None:
    options = (Tos(leg=2, tos=1), Ttl(leg=2, ttl=2), Tfo(payload_size=3))
    assert decode(encode_options(options).hex()) == options


# Values.


@pytest.mark.parametrize("leg", ["4", "c", "0"])
@pytest.mark.parametrize(
    "rest", ["1 02 02 00", "4 01 05b4", "4 02 02 00", "4 03 000a", "5 01 02 00", "5 02 01 01"]
)
def test_an_option_about_the_remote_leg_is_ignored_on_another(leg: str, rest: str) -> None:
    assert ignored("0001 0008", leg + rest)


@pytest.mark.parametrize("availability", ["00", "03", "ff"])
@pytest.mark.parametrize("start", ["81 02", "81 04", "84 02", "85 01"])
def test_an_availability_is_1_or_2(start: str, availability: str) -> None:
    assert ignored("0001 0008", start, availability, "00")


def test_a_ttl_of_0_is_impossible() -> None:
    assert ignored("0001 0008 81 03 00 00")


@pytest.mark.parametrize("parity", ["00", "01", "02"])
def test_a_parity_is_any_even_or_odd(parity: str) -> None:
    assert decode("0001 0008 85 02", parity, "00") == (PortParity(parity=int(parity), reserve=0),)


@pytest.mark.parametrize("body", ["03 00", "01 02"])
def test_another_parity_or_reservation_is_impossible(body: str) -> None:
    assert ignored("0001 0008 85 02", body)


def test_a_payload_size_of_0_leaves_the_choice_to_the_proxy() -> None:
    assert decode("0001 0008 84 01 0000") == (Tfo(payload_size=0),)


def test_a_backlog_of_0_says_that_there_is_none() -> None:
    assert decode("0001 0008 84 03 0000", place=HandshakeMessage.OPERATION_REPLY) == (
        ListenBacklog(backlog=0),
    )


# Their way through the proxy.


class Obliging(ScriptedOutbound):
    """Says that every option is in force."""

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
        connection = await super().connect(host, port, judge=judge, options=options)
        return ConnectResult(stream=connection.stream, bound=Endpoint("192.0.2.1", 7), options=options)


def test_the_operation_reply_says_what_the_outbound_has_in_force(run: Run) -> None:
    async def scene() -> None:
        options = (Tos(leg=2, tos=0x10), Multipath(availability=2))
        request = Request(command=Command.CONNECT, host="example.com", port=80, options=options)
        reply = OperationReply(code=0, host="192.0.2.1", port=7, options=options).encode()
        client, proxy = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=Obliging()).serve_stream(proxy))
            await client.send(request.encode())
            assert await receive_exactly(client, 4 + len(reply)) == bytes.fromhex("06 00 0000") + reply
            client.abort()

    run(scene())


def test_an_outbound_that_supports_none_answers_none(run: Run) -> None:
    async def scene() -> None:
        options = (Tos(leg=2, tos=0x10),)
        request = Request(command=Command.CONNECT, host="example.com", port=80, options=options)
        client, proxy = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=ScriptedOutbound()).serve_stream(proxy))
            await client.send(request.encode())
            answer = await receive_exactly(client, 16)
            assert OperationReply.decode(answer[4:]).options == ()
            client.abort()

    run(scene())
