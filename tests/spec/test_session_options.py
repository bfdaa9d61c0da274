"""§ Session options: what binds on the wire, in the conversation, and in the proxy that keeps the sessions."""

import asyncio

import pytest

from socks6.message.buffer import Reader
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import (
    STANDARD,
    AuthenticationData,
    HandshakeMessage,
    Option,
    SessionId,
    SessionInvalid,
    SessionOk,
    SessionRequest,
    SessionTeardown,
    UnknownOption,
    encode_options,
)
from socks6.protocol.events import Authenticated, AuthenticationAccepted, AuthenticationRefused
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ClientState, ServerState
from socks6.proxy.worker import ServerWorker
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outbounds import ScriptedOutbound
from tests.kit.playbook import Playbook, Received, received, sent
from tests.kit.reading import receive_all
from tests.kit.scenes import asking, client, server

ID = SessionId(id=bytes(range(16)))
OFFER = AuthenticationData(method=2, data=bytes.fromhex("01 05 616c696365 06 313233343536"))
CASES: dict[str, tuple[Option, str]] = {
    "request": (SessionRequest(), "0005 0004"),
    "id": (SessionId(id=b"abcd"), "0006 0008 61626364"),
    "OK": (SessionOk(), "0008 0004"),
    "invalid": (SessionInvalid(), "0009 0004"),
    "teardown": (SessionTeardown(), "000a 0004"),
}


def asked(*options: Option) -> Playbook[ServerConversation]:
    """Return a server that demands authentication and has to decide about a request with these options."""
    scene = server(required=True)
    encoded = encode_options(options)
    scene >> Received(bytes.fromhex(f"06 00 {len(encoded):04x} 0000 00 01 00000000") + encoded)
    scene.machine.next_event()
    return scene


@pytest.mark.parametrize("name", CASES)
def test_each_is_written_as_its_figure_shows(name: str) -> None:
    option, written = CASES[name]
    assert encode_options((option,)) == bytes.fromhex(written)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("request", HandshakeMessage.REQUEST),
        ("id", HandshakeMessage.REQUEST),
        ("id", HandshakeMessage.AUTHENTICATION_REPLY),  # the draft names both replies
        ("id", HandshakeMessage.OPERATION_REPLY),
        ("OK", HandshakeMessage.AUTHENTICATION_REPLY),
        ("invalid", HandshakeMessage.AUTHENTICATION_REPLY),
        ("teardown", HandshakeMessage.REQUEST),
    ],
)
def test_each_is_read_where_the_draft_places_it(name: str, place: HandshakeMessage) -> None:
    option, written = CASES[name]
    assert STANDARD.decode(Reader(bytes.fromhex(written)), place, DRAFT_12) == (option,)


def test_a_session_id_must_not_be_empty_when_written() -> None:
    with pytest.raises(ValueError, match="session id"):
        encode_options((SessionId(id=b""),))


def test_a_session_id_must_be_a_multiple_of_4_when_written() -> None:
    with pytest.raises(ValueError, match="session id"):
        encode_options((SessionId(id=b"abcde"),))


def test_an_empty_session_id_is_read_as_one_so_that_it_can_be_invalid() -> None:
    assert STANDARD.decode(Reader(bytes.fromhex("0006 0004")), HandshakeMessage.REQUEST, DRAFT_12) == (
        SessionId(id=b""),
    )


def test_an_odd_session_id_is_read_as_one_so_that_it_can_be_invalid() -> None:
    read = STANDARD.decode(Reader(bytes.fromhex("0006 0005 61")), HandshakeMessage.REQUEST, GO_212)
    assert read == (SessionId(id=b"a"),)


def test_a_session_is_not_ok_and_invalid_at_once() -> None:
    with pytest.raises(ValueError, match="contradicts"):
        encode_options((SessionOk(), SessionInvalid()))


def test_of_ok_and_invalid_the_first_counts() -> None:
    read = STANDARD.decode(
        Reader(bytes.fromhex("0009 0004 0008 0004")), HandshakeMessage.AUTHENTICATION_REPLY, DRAFT_12
    )
    assert read == (SessionInvalid(), UnknownOption(kind=8, body=b""))


def test_a_session_id_is_no_business_of_logs() -> None:
    assert repr(ID.id)[2:-1] not in repr(ID)


def test_a_client_sends_the_id_instead_of_credentials() -> None:
    client(options=(ID,)) << sent("06 01 0014 0050 00 01 7f000001", "0006 0014", ID.id.hex())


def test_within_a_session_no_authentication_is_required() -> None:
    scene = asked(ID)
    scene.machine.accept_session()
    scene << Authenticated()
    scene.machine.send_authenticated((SessionOk(),))
    scene << sent("06 00 0004", "0008 0004")


def test_within_a_session_an_authentication_attempt_is_silently_ignored() -> None:
    scene = asked(ID, OFFER)
    scene.machine.accept_session()
    scene << Authenticated()
    scene.machine.send_authenticated((SessionOk(),))
    scene << sent("06 00 0004", "0008 0004")  # and no reply of the method


def test_an_invalid_id_fails_the_first_reply_for_good() -> None:
    scene = asked(SessionId(id=b"gone"), OFFER)
    scene.machine.refuse((SessionInvalid(),), reason="no such session")
    scene << sent("06 01 0004", "0009 0004")
    assert scene.machine.state is ServerState.CLOSING


def test_a_client_hears_that_its_session_is_invalid() -> None:
    scene = asking(options=(ID,))
    scene >> received("06 01 0004", "0009 0004")
    event = scene.machine.next_event()
    assert isinstance(event, AuthenticationRefused)
    assert event.reply.options == (SessionInvalid(),)
    assert scene.machine.state is ClientState.CLOSED


def test_a_client_hears_its_new_session_id() -> None:
    scene = asking(options=(SessionRequest(),))
    scene >> received("06 00 0014", "0006 0014", ID.id.hex())
    event = scene.machine.next_event()
    assert isinstance(event, AuthenticationAccepted)
    assert event.reply.options == (ID,)


@pytest.mark.parametrize("option", ["0005 0004", "000a 0004"])
def test_what_the_proxy_will_not_honor_it_silently_ignores(run: Run, option: str) -> None:
    async def scene() -> None:
        near, far = memory_stream_pair()
        async with asyncio.TaskGroup() as group:
            group.create_task(ServerWorker(outbound=ScriptedOutbound()).serve_stream(far))
            await near.send(bytes.fromhex(f"06 00 0004 0000 00 01 00000000  {option}"))
            await near.send_eof()
            answer = await receive_all(near)  # an anonymous client gets no session, nor can it end one
        assert answer == bytes.fromhex("06 00 0000  06 00 0000 0000 00 01 00000000")

    run(scene())
