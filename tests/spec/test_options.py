"""§ SOCKS Options, § IANA Considerations, and options that make no sense."""

import asyncio
from dataclasses import dataclass
from typing import Self

import pytest
from typing_extensions import override

from socks6.errors import DecodeError
from socks6.message.buffer import Reader
from socks6.message.codes import Command, OptionKind
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    AuthenticationMethodSelection,
    HandshakeMessage,
    IdempotenceRequest,
    Option,
    SessionOk,
    SessionRequest,
    UnknownOption,
    encode_options,
)
from socks6.message.requests import Request
from socks6.protocol.events import AuthenticationAccepted
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import received, sent
from tests.kit.reading import receive_all
from tests.kit.scenes import asking, server

REFUSED = "06 01 0000"


def decode(*parts: str, place: HandshakeMessage = HandshakeMessage.REQUEST) -> tuple[Option, ...]:
    return STANDARD.decode(Reader(bytes.fromhex("".join(parts))), place, DRAFT_12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting(Option):
    """A private option of a user's own."""

    kind = 0xFE01
    text: bytes

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(text=body.rest())

    @override
    def encode_body(self) -> bytes:
        return self.text


# The format.


def test_an_option_is_kind_length_and_data() -> None:
    assert encode_options((Greeting(text=b"abcd"),)) == bytes.fromhex("fe01 0008 61626364")


def test_the_length_is_a_multiple_of_4_when_written() -> None:
    assert encode_options((Greeting(text=b"abcde"),)) == bytes.fromhex("fe01 000c 6162636465 000000")


@pytest.mark.parametrize("length", ["0005 00", "0006 0000", "0007 000000"])
def test_a_length_that_is_no_multiple_of_4_is_refused(length: str) -> None:
    scene = server()
    padding = "00" * (8 - 2 - len(bytes.fromhex(length)))
    scene >> received("06 00 0008 0000 00 01 00000000", "fe01", length, padding) << sent(REFUSED)


@pytest.mark.parametrize("length", ["0000", "0001", "0002", "0003"])
def test_a_length_below_the_options_own_header_is_refused(length: str) -> None:
    scene = server()
    scene >> received("06 00 0004 0000 00 01 00000000", "fe01", length) << sent(REFUSED)


def test_a_length_past_the_end_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode("fe01 0008")


def test_half_a_header_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode("fe01")


def test_older_implementations_may_leave_options_unaligned() -> None:
    reader = Reader(bytes.fromhex("0004 0007 02 0100  0005 0004"))
    options = STANDARD.decode(reader, HandshakeMessage.AUTHENTICATION_REPLY, GO_212)
    assert options[0] == AuthenticationData(method=2, data=b"\x01\x00")


def test_the_kinds_are_those_asked_of_iana() -> None:
    kinds = {kind.name: kind.value for kind in OptionKind}
    assert kinds.pop("STREAM_ID") == 0xFD10  # the QUIC extension's, in the experimental range
    assert kinds == {
        "STACK": 1,
        "AUTHENTICATION_METHOD_ADVERTISEMENT": 2,
        "AUTHENTICATION_METHOD_SELECTION": 3,
        "AUTHENTICATION_DATA": 4,
        "SESSION_REQUEST": 5,
        "SESSION_ID": 6,
        "SESSION_OK": 8,
        "SESSION_INVALID": 9,
        "SESSION_TEARDOWN": 10,
        "IDEMPOTENCE_REQUEST": 11,
        "IDEMPOTENCE_WINDOW": 12,
        "IDEMPOTENCE_EXPENDITURE": 13,
        "IDEMPOTENCE_ACCEPTED": 14,
        "IDEMPOTENCE_REJECTED": 15,
    }


# Unsupported, misplaced, duplicate and malformed ones.


@pytest.mark.parametrize("kind", ["0000", "0007", "0010", "0011", "0012", "00ff", "fc00", "ffff"])
def test_an_unsupported_option_must_be_silently_ignored_by_the_proxy(run: Run, kind: str) -> None:
    async def scene() -> None:
        client, proxy = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=ScriptedOutbound()).serve_stream(proxy))
            await client.send(bytes.fromhex(f"06 00 0008 0000 00 01 00000000  {kind} 0008 01020304"))
            await client.send_eof()
            assert await receive_all(client) == bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")

    run(scene())


def test_an_unsupported_option_must_be_silently_ignored_by_the_client() -> None:
    scene = asking()
    scene >> received("06 00 0008", "ffff 0008 01020304")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_an_unknown_option_is_kept_as_it_came() -> None:
    assert decode("ffff 0008 01020304") == (UnknownOption(kind=0xFFFF, body=b"\x01\x02\x03\x04"),)


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("0003 0008 02000000", HandshakeMessage.REQUEST),
        ("0008 0004", HandshakeMessage.REQUEST),
        ("000c 000c 00000001 00000001", HandshakeMessage.REQUEST),
        ("0002 0008 0000 8000", HandshakeMessage.AUTHENTICATION_REPLY),
        ("0005 0004", HandshakeMessage.AUTHENTICATION_REPLY),
        ("0001 0008 c1011000", HandshakeMessage.AUTHENTICATION_REPLY),
        ("0004 0008 02010000", HandshakeMessage.OPERATION_REPLY),
        ("000e 0004", HandshakeMessage.OPERATION_REPLY),
    ],
)
def test_an_option_where_it_may_not_be_is_ignored(option: str, place: HandshakeMessage) -> None:
    (found,) = decode(option, place=place)
    assert isinstance(found, UnknownOption)


@pytest.mark.parametrize(
    "option",
    [
        "0001 0004",  # no leg, level and code
        "0002 0004",  # no initial data length
        "0004 0004",  # no method
        "0005 0008 00000000",  # says all by being there, yet has a body
        "000b 0004",
        "000b 000c 00000001 00000000",
    ],
)
def test_a_known_option_with_an_impossible_body_is_ignored(option: str) -> None:
    (found,) = decode(option)
    assert isinstance(found, UnknownOption)


def test_of_duplicates_the_first_counts() -> None:
    first, second = decode("000b 0008 00000001", "000b 0008 00000002")
    assert first == IdempotenceRequest(size=1)
    assert isinstance(second, UnknownOption)


def test_an_impossible_option_does_not_count_as_the_first() -> None:
    first, second = decode("000b 0004", "000b 0008 00000002")
    assert isinstance(first, UnknownOption)
    assert second == IdempotenceRequest(size=2)


def test_a_duplicate_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        encode_options((SessionRequest(), SessionRequest()))


def test_options_are_written_in_the_order_of_their_kinds() -> None:
    options = (SessionOk(), AuthenticationMethodSelection(method=2))
    assert encode_options(options) == bytes.fromhex("0003 0008 02000000  0008 0004")


def test_an_unknown_options_contents_are_no_business_of_logs() -> None:
    assert "secret" not in repr(UnknownOption(kind=4, body=b"\x02secret."))


# Options of a user's own.


def test_a_table_is_extended_by_making_another() -> None:
    table = STANDARD.extended(Greeting)
    body = Request(command=Command.NOOP, host="0.0.0.0", port=0, options=(Greeting(text=b"abcd"),)).encode()
    assert Request.decode(body, table=table).options == (Greeting(text=b"abcd"),)
    assert Request.decode(body).options == (UnknownOption(kind=0xFE01, body=b"abcd"),)


def test_two_meanings_of_one_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="two options"):
        STANDARD.extended(SessionRequest)
