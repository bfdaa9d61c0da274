"""The server's conversation from authentication to the stream or association."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.codes import Command
from socks6.message.datagrams import Datagram
from socks6.message.dialect import DatagramLayout
from socks6.message.options import AuthenticationMethodAdvertisement, Option, SessionId
from socks6.message.replies import OperationReply
from socks6.message.requests import Request
from socks6.protocol.events import (
    MAX_IGNORED_MESSAGES,
    AssociationMessageReceived,
    Ended,
    MessagesIgnored,
    Violation,
    ViolationKind,
)
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ServerState
from tests.kit.playbook import Playbook, Received, eof, nothing, received, sent, unread

SUCCESS = OperationReply(code=0, host="127.0.0.1", port=54321)
ASSOCIATION = 0x0102030405060708


def operating(
    command: int, data: bytes = b"", initial: int = 0, *, with_success: tuple[Option, ...] = ()
) -> Playbook[ServerConversation]:
    """Return a conversation whose client is let in."""
    scene = Playbook(ServerConversation(methods={}, authentication_required=False, deadline=10.0))
    advertisement = AuthenticationMethodAdvertisement(methods=(2,), initial_data_length=initial)
    options = (advertisement,) if initial else ()
    scene >> Received(Request(command=command, host="127.0.0.1", port=80, options=options).encode() + data)
    scene.machine.authenticate()
    scene.machine.send_authenticated(with_success=with_success)
    while scene.machine.next_event() is not None:
        pass
    scene.machine.data_to_send()
    return scene


def test_a_connect_ends_in_the_stream() -> None:
    scene = operating(Command.CONNECT, b"early")
    scene.machine.send_reply(SUCCESS)
    scene << sent("06 00 0000 d431 00 01 7f000001") << unread(b"early")
    assert scene.machine.state is ServerState.STREAMING
    assert scene.machine.bytes_wanted() == 0


def test_bytes_and_end_after_a_connect_are_the_streams() -> None:
    scene = operating(Command.CONNECT)
    scene.machine.send_reply(SUCCESS)
    scene.machine.data_to_send()
    scene >> received("0102") >> eof << nothing << unread(b"\x01\x02")


def test_a_failure_closes() -> None:
    scene = operating(Command.CONNECT)
    scene.machine.send_reply(OperationReply(code=5))
    scene << sent("06 05 0000 0000 00 01 00000000")
    assert scene.machine.state is ServerState.CLOSING


def test_a_noop_closes_after_success() -> None:
    scene = operating(Command.NOOP)
    scene.machine.send_reply(OperationReply(code=0))
    assert scene.machine.state is ServerState.CLOSING


def test_a_bind_has_two_replies() -> None:
    scene = operating(Command.BIND)
    scene.machine.send_reply(SUCCESS)
    scene.machine.send_reply(OperationReply(code=0, host="192.0.2.1", port=7))
    assert scene.machine.state is ServerState.STREAMING
    scene << sent("06 00 0000 d431 00 01 7f000001", "06 00 0000 0007 00 01 c0000201")


def test_a_bind_may_fail_while_it_waits() -> None:
    scene = operating(Command.BIND)
    scene.machine.send_reply(SUCCESS)
    scene.machine.send_reply(OperationReply(code=9))
    assert scene.machine.state is ServerState.CLOSING


def test_a_binding_client_may_leave_while_it_waits() -> None:
    scene = operating(Command.BIND)
    scene.machine.send_reply(SUCCESS)
    scene >> eof << Ended(reason="the client closed its side")


def test_peers_may_be_announced() -> None:
    scene = operating(Command.BIND)
    scene.machine.send_reply(SUCCESS)
    scene.machine.data_to_send()
    scene.machine.send_announcement(OperationReply(code=0, host="192.0.2.1", port=7))
    scene << sent("06 00 0000 0007 00 01 c0000201")
    assert scene.machine.state is ServerState.AWAITING_PEER


def test_initial_data_of_a_bind_never_reaches_the_stream() -> None:
    scene = operating(Command.BIND, b"ab", initial=4)
    scene.machine.send_reply(SUCCESS)
    assert scene.machine.bytes_wanted() == 2
    scene >> Received(b"cdstream")
    assert scene.machine.bytes_wanted() == 0
    scene << unread(b"stream")


def test_an_unknown_command_cannot_succeed() -> None:
    scene = operating(77)
    with pytest.raises(LocalProtocolError):
        scene.machine.send_reply(SUCCESS)
    scene.machine.send_reply(OperationReply(code=7))
    scene << sent("06 07 0000 0000 00 01 00000000")


def test_nothing_is_replied_before_a_request() -> None:
    fresh = ServerConversation(methods={}, authentication_required=False, deadline=10.0)
    with pytest.raises(LocalProtocolError):
        fresh.send_reply(SUCCESS)


def test_nothing_is_replied_twice_to_a_connect() -> None:
    scene = operating(Command.CONNECT)
    scene.machine.send_reply(SUCCESS)
    with pytest.raises(LocalProtocolError):
        scene.machine.send_reply(SUCCESS)


def associated(data: bytes = b"", initial: int = 0) -> Playbook[ServerConversation]:
    scene = operating(Command.UDP_ASSOCIATE, data, initial)
    scene.machine.send_reply(SUCCESS)
    scene.machine.data_to_send()
    return scene


def test_datagrams_come_in_over_the_stream() -> None:
    scene = associated()
    whole = "06 03 0016 0102030405060708 01 00 0035 7f000001 6869"
    assert scene.machine.bytes_wanted() == 12
    scene >> received(whole, "06 03")
    scene << AssociationMessageReceived(
        message=Datagram(association_id=ASSOCIATION, host="127.0.0.1", port=53, data=b"hi"),
        layout=DatagramLayout.DRAFT,
    )
    scene << nothing


def test_ports_that_fit_both_layouts_are_read_as_the_client_has_shown() -> None:
    scene = associated()
    ambiguous = "06 03 0014 0102030405060708 0100 0001 7f000001"  # draft: port 1; consistent: port 256
    scene >> received(ambiguous)
    scene << AssociationMessageReceived(
        message=Datagram(association_id=ASSOCIATION, host="127.0.0.1", port=1, data=b""),
        layout=DatagramLayout.DRAFT,
    )
    scene.machine.expect_layout(DatagramLayout.CONSISTENT)
    scene >> received(ambiguous)
    scene << AssociationMessageReceived(
        message=Datagram(association_id=ASSOCIATION, host="127.0.0.1", port=256, data=b""),
        layout=DatagramLayout.CONSISTENT,
    )


def test_datagrams_that_came_with_the_request_are_read_too() -> None:
    scene = associated(bytes.fromhex("06 03 0014 0102030405060708 01 00 0000 00000000"))
    assert isinstance(scene.machine.next_event(), AssociationMessageReceived)


def test_initial_data_of_an_association_is_dropped() -> None:
    scene = associated(b"ab", initial=3)
    assert scene.machine.bytes_wanted() == 1 + 12
    scene >> Received(b"c" + bytes.fromhex("06 03 0014 0102030405060708 01 00 0000 00000000"))
    assert isinstance(scene.machine.next_event(), AssociationMessageReceived)


def test_after_many_messages_that_are_no_datagrams_others_get_their_turn() -> None:
    scene = associated()
    scene >> received(*["06 02 000c 0102030405060708"] * (2 * MAX_IGNORED_MESSAGES + 1), "06 03")
    scene << MessagesIgnored() << MessagesIgnored() << nothing
    assert scene.machine.bytes_wanted() == 10


def test_what_is_no_datagram_is_dropped() -> None:
    scene = associated()
    scene >> received("06 09 000c 0102030405060708", "06 02 000c 0102030405060708") << nothing
    scene >> received("06 03 0014 0102030405060708 01 00 0000 00000000")
    assert isinstance(scene.machine.next_event(), AssociationMessageReceived)


def test_an_association_ends_when_framing_is_lost() -> None:
    scene = associated()
    scene >> received("06 03 0003")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED
    scene << nothing


def test_an_association_ends_with_its_stream() -> None:
    associated() >> eof << Ended(reason="the client closed its side")


def test_what_goes_with_success_stands_in_the_first_reply_only() -> None:
    scene = operating(Command.BIND, with_success=(SessionId(id=b"abcd"),))
    scene.machine.send_reply(SUCCESS)
    scene << sent("06 00 0008 d431 00 01 7f000001  0006 0008 61626364")
    scene.machine.send_reply(SUCCESS)
    scene << sent("06 00 0000 d431 00 01 7f000001")


def test_what_goes_with_success_does_not_go_with_failure() -> None:
    scene = operating(Command.CONNECT, with_success=(SessionId(id=b"abcd"),))
    scene.machine.send_reply(OperationReply(code=5))
    scene << sent("06 05 0000 0000 00 01 00000000")


def test_every_message_can_be_traced() -> None:
    seen: list[tuple[str, str]] = []

    def trace(direction: str, message: object) -> None:
        seen.append((direction, type(message).__name__))

    machine = ServerConversation(methods={}, authentication_required=False, deadline=10.0, trace=trace)
    machine.receive_data(bytes.fromhex("06 03 0000 0000 00 01 00000000"), 0.0)
    machine.next_event()
    machine.authenticate()
    machine.next_event()
    machine.send_authenticated()
    machine.send_reply(OperationReply(code=0, host="127.0.0.1", port=1))
    machine.receive_data(Datagram(association_id=1, host="192.0.2.1", port=1, data=b"").encode(), 0.0)
    assert machine.next_event() is not None
    assert seen == [
        ("<", "Request"),
        (">", "AuthenticationReply"),
        (">", "OperationReply"),
        ("<", "Datagram"),
    ]


def test_an_answer_to_rubbish_is_traced() -> None:
    seen: list[object] = []
    machine = ServerConversation(
        methods={},
        authentication_required=False,
        deadline=10.0,
        trace=lambda direction, message: seen.extend((direction, message)),
    )
    machine.receive_data(b"\7", 0.0)
    assert seen == [">", b"\x06"]
