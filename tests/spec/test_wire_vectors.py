"""Every message and option of tests/vectors/wire.json, in both directions.

The file is a copy of the one that several implementations share, for places that have no `shared` folder.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from socks6.message.buffer import Reader
from socks6.message.codes import Command
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    Datagram,
    DatagramError,
    decode_message,
    message_size,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    HandshakeMessage,
    HappyEyeballs,
    IdempotenceAccepted,
    IdempotenceExpenditure,
    IdempotenceRejected,
    IdempotenceRequest,
    IdempotenceWindow,
    ListenBacklog,
    Multipath,
    NoFragmentation,
    Option,
    PortParity,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    StreamId,
    Tfo,
    Tos,
    Ttl,
    UdpError,
    UnknownOption,
    encode_options,
)
from socks6.message.replies import VERSION_MISMATCH, AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword, UsernamePasswordReply

Vector: TypeAlias = dict[str, Any]

COPY: Final = Path(__file__).parent.parent / "vectors" / "wire.json"
SHARED: Final = Path(__file__).parents[3] / "shared" / "vectors" / "wire.json"
VECTORS: Final[list[Vector]] = json.loads(COPY.read_text())
DIALECTS: Final = {dialect.version: dialect for dialect in (DRAFT_12, GO_212)}


def authentication_data(vector: Vector) -> AuthenticationData:
    if "status" in vector:
        body = UsernamePasswordReply(status=vector["status"]).encode()
    else:
        name, password = vector["username"].encode(), vector["password"].encode()
        body = UsernamePassword(username=name, password=password).encode()
    return AuthenticationData(method=vector["method"], data=body + bytes(-(1 + len(body)) % 4))


OPTIONS: Final[dict[str, Callable[[Vector], Option]]] = {
    "tos": lambda v: Tos(leg=v["leg"], tos=v["tos"]),
    "happy_eyeballs": lambda v: HappyEyeballs(availability=v["availability"]),
    "ttl": lambda v: Ttl(leg=v["leg"], ttl=v["ttl"]),
    "no_fragmentation": lambda v: NoFragmentation(leg=v["leg"], availability=v["availability"]),
    "tfo": lambda v: Tfo(payload_size=v["payload_size"]),
    "multipath": lambda v: Multipath(availability=v["availability"]),
    "listen_backlog": lambda v: ListenBacklog(backlog=v["backlog"]),
    "udp_error": lambda v: UdpError(availability=v["availability"]),
    "port_parity": lambda v: PortParity(parity=v["parity"], reserve=v["reserve"]),
    "auth_method_advertisement": lambda v: AuthenticationMethodAdvertisement(
        methods=tuple(v["methods"]), initial_data_length=v["initial_data_length"]
    ),
    "auth_method_selection": lambda v: AuthenticationMethodSelection(method=v["method"]),
    "auth_data": authentication_data,
    "session_request": lambda _: SessionRequest(),
    "session_id": lambda v: SessionId(id=bytes.fromhex(v["id"])),
    "session_ok": lambda _: SessionOk(),
    "session_invalid": lambda _: SessionInvalid(),
    "session_teardown": lambda _: SessionTeardown(),
    "idempotence_request": lambda v: IdempotenceRequest(size=v["size"]),
    "idempotence_window": lambda v: IdempotenceWindow(base=v["base"], size=v["size"]),
    "idempotence_expenditure": lambda v: IdempotenceExpenditure(token=v["token"]),
    "idempotence_accepted": lambda _: IdempotenceAccepted(),
    "idempotence_rejected": lambda _: IdempotenceRejected(),
    "stream_id": lambda v: StreamId(id=v["id"]),
}


def options(vector: Vector) -> tuple[Option, ...]:
    return tuple(OPTIONS[option["option"]](option) for option in vector["options"])


def request(vector: Vector) -> Request:
    command = Command[vector["command"]]
    return Request(command=command, host=vector["host"], port=vector["port"], options=options(vector))


def authentication_reply(vector: Vector) -> AuthenticationReply:
    return AuthenticationReply(type=vector["type"], options=options(vector))


def operation_reply(vector: Vector) -> OperationReply:
    code, host, port = vector["code"], vector["host"], vector["port"]
    return OperationReply(code=code, host=host, port=port, options=options(vector))


Addressed: TypeAlias = Datagram | DatagramError


def datagram(vector: Vector) -> Datagram:
    data = bytes.fromhex(vector["data"])
    return Datagram(association_id=vector["association"], host=vector["host"], port=vector["port"], data=data)


def datagram_error(vector: Vector) -> DatagramError:
    return DatagramError(
        association_id=vector["association"],
        host=vector["host"],
        port=vector["port"],
        code=vector["code"],
        reporter=vector["reporter"],
    )


MESSAGES: Final[dict[str, Callable[[Vector], Request | AuthenticationReply | OperationReply]]] = {
    "request": request,
    "auth_reply": authentication_reply,
    "operation_reply": operation_reply,
}
ASSOCIATION: Final[dict[str, Callable[[Vector], AssociationInitialization | AssociationConfirmation]]] = {
    "association_initialization": lambda v: AssociationInitialization(association_id=v["association"]),
    "association_confirmation": lambda v: AssociationConfirmation(association_id=v["association"]),
}
ADDRESSED: Final[dict[str, Callable[[Vector], Addressed]]] = {
    "datagram": datagram,
    "datagram_error": datagram_error,
}
OTHERS: Final = {"option", "version_mismatch"}


def of(kinds: set[str]) -> list[Any]:
    """Return the vectors of some kinds, as parameters of a test."""
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS if vector["message"] in kinds]


def wire(vector: Vector) -> bytes:
    return bytes.fromhex(vector["hex"])


def dialect(vector: Vector) -> Dialect:
    return DIALECTS[vector["version"]]


def test_the_copy_is_the_shared_file() -> None:
    if SHARED.exists():
        assert COPY.read_bytes() == SHARED.read_bytes()


def test_every_vector_is_tried() -> None:
    tried = {*MESSAGES, *ASSOCIATION, *ADDRESSED, *OTHERS}
    assert {vector["message"] for vector in VECTORS} == tried
    assert {vector["option"] for vector in VECTORS if vector["message"] == "option"} == OPTIONS.keys()


@pytest.mark.parametrize("vector", of({*MESSAGES}))
def test_a_message_becomes_these_bytes(vector: Vector) -> None:
    assert MESSAGES[vector["message"]](vector).encode(dialect(vector)) == wire(vector)


@pytest.mark.parametrize("vector", of({*MESSAGES}))
def test_these_bytes_become_a_message(vector: Vector) -> None:
    message = MESSAGES[vector["message"]](vector)
    assert type(message).decode(wire(vector), dialect(vector)) == message


@pytest.mark.parametrize("vector", of({*MESSAGES}))
def test_a_message_is_as_long_as_its_size(vector: Vector) -> None:
    message = MESSAGES[vector["message"]](vector)
    assert type(message).size(wire(vector) + b"more", dialect(vector)) == len(wire(vector))


@pytest.mark.parametrize("vector", of({*ASSOCIATION}))
def test_a_message_about_an_association_becomes_these_bytes(vector: Vector) -> None:
    assert ASSOCIATION[vector["message"]](vector).encode(dialect(vector)) == wire(vector)


@pytest.mark.parametrize("vector", of({*ASSOCIATION}))
def test_these_bytes_become_a_message_about_an_association(vector: Vector) -> None:
    message = ASSOCIATION[vector["message"]](vector)
    assert decode_message(wire(vector), dialect(vector)) == (message, None)


@pytest.mark.parametrize("vector", of({*ADDRESSED}))
def test_a_message_with_an_address_becomes_these_bytes(vector: Vector) -> None:
    message, layout = ADDRESSED[vector["message"]](vector), DatagramLayout(vector["layout"])
    assert message.encode(dialect(vector), layout) == wire(vector)


@pytest.mark.parametrize("vector", of({*ADDRESSED}))
def test_these_bytes_become_a_message_with_an_address(vector: Vector) -> None:
    message, layout = ADDRESSED[vector["message"]](vector), DatagramLayout(vector["layout"])
    assert decode_message(wire(vector), dialect(vector)) == (message, layout)


@pytest.mark.parametrize("vector", of({*ASSOCIATION, *ADDRESSED}))
def test_a_message_on_a_stream_is_as_long_as_its_size(vector: Vector) -> None:
    assert message_size(wire(vector) + b"more", dialect(vector)) == len(wire(vector))


@pytest.mark.parametrize("vector", of({"option"}))
def test_an_option_becomes_these_bytes(vector: Vector) -> None:
    assert encode_options((OPTIONS[vector["option"]](vector),)) == wire(vector)


@pytest.mark.parametrize("vector", of({"option"}))
def test_these_bytes_become_an_option_where_it_may_be(vector: Vector) -> None:
    option = OPTIONS[vector["option"]](vector)
    for place in HandshakeMessage:
        decoded = STANDARD.decode(Reader(wire(vector)), place, DRAFT_12)
        unknown = UnknownOption(kind=option.kind, body=wire(vector)[4:])
        assert decoded == ((option if place in option.messages else unknown),)


@pytest.mark.parametrize("vector", of({"version_mismatch"}))
def test_a_version_mismatch_is_this_byte(vector: Vector) -> None:
    assert wire(vector) == VERSION_MISMATCH


@pytest.mark.parametrize("vector", [v for v in VECTORS for o in v.get("options", []) if "username" in o])
def test_these_bytes_hold_a_username_and_password(vector: Vector) -> None:
    expected = vector["options"][0]
    decoded = Request.decode(wire(vector)).options[0]
    assert isinstance(decoded, AuthenticationData)
    assert UsernamePassword.decode(decoded.data) == UsernamePassword(
        username=expected["username"].encode(), password=expected["password"].encode()
    )


@pytest.mark.parametrize("vector", [v for v in VECTORS for o in v.get("options", []) if "status" in o])
def test_these_bytes_hold_a_status(vector: Vector) -> None:
    decoded = AuthenticationReply.decode(wire(vector)).options[0]
    assert isinstance(decoded, AuthenticationData)
    expected = vector["options"][0]["status"]
    assert UsernamePasswordReply.decode(decoded.data) == UsernamePasswordReply(status=expected)
