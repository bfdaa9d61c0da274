"""The client's conversation."""

import re

import pytest
from typing_extensions import override

from socks6.message.codes import Command
from socks6.message.datagrams import (
    AssociationConfirmation,
    AssociationInitialization,
    Datagram,
)
from socks6.message.dialect import DRAFT_12, GO_212, DatagramLayout, Dialect
from socks6.message.first_bytes import MAX_LINE
from socks6.message.options import AuthenticationData, AuthenticationMethodSelection, SessionRequest
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.protocol.client import MAX_NEGOTIATION, ClientConversation
from socks6.protocol.events import (
    MAX_IGNORED_MESSAGES,
    AssociationMessageReceived,
    AuthenticationAccepted,
    AuthenticationRefused,
    Ended,
    MessagesIgnored,
    OperationAnswered,
    PeerConnected,
    Violation,
    ViolationKind,
)
from socks6.protocol.methods.userpass import UsernamePasswordClient, UsernamePasswordCredentials
from socks6.protocol.states import ClientState
from tests.kit import two_stage
from tests.kit.challenge import FIRST, SECOND, ChallengeClient, answer
from tests.kit.playbook import Playbook, Received, Sent, eof, nothing, received, sent, unread

ALICE = UsernamePasswordCredentials(username=b"alice", password=b"123456")
ACCEPTED = AuthenticationAccepted(reply=AuthenticationReply(type=0))
CONNECTED = OperationReply(code=0, host="127.0.0.1", port=54321)
BOUND = "06 00 0000 d431 00 01 7f000001"


def play(command: int = Command.CONNECT, **settings: object) -> Playbook[ClientConversation]:
    request = Request(command=command, host="127.0.0.1", port=80)
    return Playbook(ClientConversation(request, **settings))  # type: ignore[arg-type]  # tests name settings freely


def asked(command: int = Command.CONNECT, **settings: object) -> Playbook[ClientConversation]:
    """Return a conversation whose request is out."""
    scene = play(command, **settings)
    scene.machine.data_to_send()
    return scene


def test_request_and_initial_data_go_out_together() -> None:
    play(initial_data=b"hi") << sent("06 01 0000 0050 00 01 7f000001", "6869") << nothing


def test_a_password_goes_with_the_request() -> None:
    scene = play(methods=(UsernamePasswordClient(ALICE),))
    scene << sent("06 01 0014 0050 00 01 7f000001", "0004 0014 02 01 05 616c696365 06 313233343536 00")


def test_the_callers_options_go_along() -> None:
    request = Request(command=Command.NOOP, host="0.0.0.0", port=0, options=(SessionRequest(),))
    Playbook(ClientConversation(request)) << sent("06 00 0004 0000 00 01 00000000", "0005 0004")


def test_a_connect_is_answered_twice() -> None:
    scene = asked()
    scene >> received("06 00 0000") << ACCEPTED << nothing
    scene >> received(BOUND) << OperationAnswered(reply=CONNECTED) << nothing
    assert scene.machine.state is ClientState.STREAMING


def test_what_follows_the_replies_belongs_to_the_stream() -> None:
    scene = asked()
    scene >> received("06 00 0000", BOUND, "6869")
    scene << ACCEPTED << OperationAnswered(reply=CONNECTED) << unread(b"hi") << unread(b"")
    scene >> received("2121") >> eof << nothing << unread(b"!!")


def test_it_wants_no_more_than_the_replies() -> None:
    scene = play()
    assert scene.machine.bytes_wanted() == 4
    scene >> received("06 00 0000")
    assert scene.machine.bytes_wanted() == 8
    scene >> received("06 00 0000 d431 00 01")
    assert scene.machine.bytes_wanted() == 4
    scene >> received("7f")
    assert scene.machine.bytes_wanted() == 3
    scene >> received("000001")
    assert scene.machine.bytes_wanted() == 0


def test_an_operation_may_fail() -> None:
    scene = play()
    scene >> received("06 00 0000", "06 05 0000 0000 00 01 00000000") << ACCEPTED
    scene << OperationAnswered(reply=OperationReply(code=5))
    assert scene.machine.state is ClientState.CLOSED


def test_a_noop_is_about_no_address() -> None:
    play(Command.NOOP) << sent("06 00 0000 0000 00 01 00000000")


def test_a_noop_is_over_after_its_reply() -> None:
    scene = play(Command.NOOP)
    scene >> received("06 00 0000", "06 00 0000 0000 00 01 00000000")
    assert scene.machine.state is ClientState.CLOSED


def test_an_unknown_command_is_over_after_its_reply() -> None:
    scene = play(77)
    scene >> received("06 00 0000", "06 00 0000 0000 00 01 00000000")
    assert scene.machine.state is ClientState.CLOSED


def test_a_refusal_ends_it() -> None:
    scene = asked()
    scene >> received("06 01 0000")
    scene << AuthenticationRefused(reply=AuthenticationReply(type=1), reason="refused") << nothing
    assert scene.machine.state is ClientState.CLOSED


def test_a_refused_password_is_told_with_the_methods_answer() -> None:
    scene = play(methods=(UsernamePasswordClient(ALICE),))
    scene >> received("06 01 0008", "0004 0008 02 0101 00")
    event = scene.machine.next_event()
    assert isinstance(event, AuthenticationRefused)
    assert isinstance(event.reply.options[0], AuthenticationData)


def test_no_acceptable_method_ends_it() -> None:
    scene = play(methods=(ChallengeClient(),))
    scene >> received("06 01 0008", "0003 0008 ff 000000")
    selection = AuthenticationMethodSelection(method=255)
    scene.machine.data_to_send()
    scene << AuthenticationRefused(
        reply=AuthenticationReply(type=1, options=(selection,)), reason="no acceptable method (selected 255)"
    )


def test_a_method_that_we_did_not_advertise_cannot_be_selected() -> None:
    scene = play(methods=(UsernamePasswordClient(ALICE),))
    scene >> received("06 01 0008", "0003 0008 02 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)


def negotiating() -> Playbook[ClientConversation]:
    scene = play(methods=(ChallengeClient(),))
    scene.machine.data_to_send()
    scene >> received("06 01 0008", "0003 0008 80 000000")
    return scene


def test_a_slow_method_is_advertised_with_the_initial_data() -> None:
    scene = play(methods=(ChallengeClient(),), initial_data=b"hello")
    scene << sent("06 01 0008 0050 00 01 7f000001", "0002 0008 0005 80 00", b"hello".hex())


def test_a_slow_method_takes_its_rounds() -> None:
    scene = negotiating()
    assert scene.machine.bytes_wanted() == 4
    scene >> Received(FIRST) << sent("05", b"alice".hex())
    scene >> Received(SECOND) << Sent(answer(FIRST + SECOND))
    assert scene.machine.state is ClientState.AWAITING_VERDICT
    scene >> received("06 00 0000", BOUND) << ACCEPTED << OperationAnswered(reply=CONNECTED)


def test_a_slow_methods_rounds_may_come_in_pieces_with_all_that_follows() -> None:
    scene = negotiating()
    scene >> Received(FIRST + SECOND + bytes.fromhex("06 00 0000"))
    scene << ACCEPTED


def test_a_second_reply_cannot_select_again() -> None:
    scene = negotiating()
    scene >> Received(FIRST + SECOND) >> received("06 01 0008", "0003 0008 80 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)


class Endless(ChallengeClient):
    """Wants bytes for ever."""

    @override
    def receive_data(self, data: bytes) -> None:
        pass

    @override
    def bytes_wanted(self) -> int:
        return 65536


def test_a_methods_exchange_is_bounded() -> None:
    scene = play(methods=(Endless(),))
    scene.machine.data_to_send()
    scene >> received("06 01 0008", "0003 0008 80 000000") >> Received(bytes(MAX_NEGOTIATION)) << nothing
    scene >> Received(b"x")
    assert isinstance(scene.machine.next_event(), Violation)


@pytest.mark.parametrize(
    ("dialect", "answer", "words"),
    [
        (DRAFT_12, "06", r"does not speak version 6 of SOCKS as it is today .* dialect=212"),
        (DRAFT_12, "48 54 54 50 2f", r'that is no SOCKS 6 proxy: it says "HTTP/"'),
        (DRAFT_12, "5353482d322e302d 1b 0d0a ff", r'no SOCKS 6 proxy: it says "SSH-2.0-\?"'),
        (DRAFT_12, "05", r"that is no SOCKS 6 proxy: it speaks SOCKS 5"),
        (DRAFT_12, "00", r"it speaks SOCKS 4"),
        (DRAFT_12, "15", r"no SOCKS 6 proxy in the clear: it speaks TLS, so try socks6\+tls://"),
        (DRAFT_12, "fe", r"no SOCKS 6 proxy: its first byte is 0xfe"),
        (DRAFT_12, "d4", r"older dialect .* try dialect=212"),
        (GO_212, "06", r"does not speak dialect 212 .*0x06.*: try without dialect="),
    ],
)
def test_another_version_is_a_mismatch_that_names_what_may_help(
    dialect: Dialect, answer: str, words: str
) -> None:
    scene = play(dialect=dialect)
    scene >> received(answer) >> eof
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.VERSION
    assert re.search(words, event.reason)
    assert scene.machine.unread() == b""


def test_a_servers_first_line_is_waited_for_in_part() -> None:
    scene = play()
    scene.machine.data_to_send()
    scene >> received("53") << nothing
    assert scene.machine.bytes_wanted() == MAX_LINE - 1
    scene >> Received(b"S" * (MAX_LINE - 1))
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.reason.endswith(f'it says "{"S" * MAX_LINE}"')


def test_a_proxy_that_closes_at_once_has_not_answered() -> None:
    scene = play()
    scene >> eof << Ended(reason="the proxy closed the connection without an answer")


def test_a_later_reply_of_another_version_is_a_violation() -> None:
    scene = play()
    scene >> received("06 00 0000") << ACCEPTED
    scene >> received("05")
    scene << Violation(kind=ViolationKind.VERSION, reason="awaiting operation reply: first byte 0x05")


def test_the_older_dialect_is_spoken_when_told() -> None:
    scene = play(dialect=GO_212)
    scene << sent("d4 01 0000 0050 00 01 7f000001")
    scene >> received("d4 00 0000") << ACCEPTED


def test_a_malformed_reply_ends_it() -> None:
    scene = play()
    scene >> received("06 00 5004")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED


def test_a_proxy_that_goes_away_ends_it() -> None:
    scene = play()
    scene >> received("06 00 0000") << ACCEPTED
    scene >> eof << Ended(reason="the proxy closed the connection (awaiting operation reply)")


def test_a_bind_is_told_its_peer() -> None:
    scene = play(Command.BIND)
    scene >> received("06 00 0000", BOUND) << ACCEPTED << OperationAnswered(reply=CONNECTED)
    scene >> received("06 00 0000 0007 00 01 c0000201", "6869")
    scene << PeerConnected(reply=OperationReply(code=0, host="192.0.2.1", port=7)) << unread(b"hi")


def test_a_bind_may_fail_while_it_waits() -> None:
    scene = play(Command.BIND)
    scene >> received("06 00 0000", BOUND, "06 09 0000 0000 00 01 00000000")
    assert scene.machine.state is ClientState.CLOSED


def test_peers_may_be_announced_one_after_another() -> None:
    scene = play(Command.BIND, announcements=True)
    scene >> received("06 00 0000", BOUND, "06 00 0000 0007 00 01 c0000201", "06 00 0000 0008 00 01 c0000201")
    assert scene.machine.state is ClientState.AWAITING_PEER


ASSOCIATED = "06 00 0000", "06 00 0000 0438 00 01 7f000001"


def test_association_messages_come_over_the_stream() -> None:
    scene = play(Command.UDP_ASSOCIATE)
    scene >> received(*ASSOCIATED, "06 01 000c 0102030405060708")
    scene.machine.next_event()
    scene.machine.next_event()
    scene << AssociationMessageReceived(
        message=AssociationInitialization(association_id=0x0102030405060708), layout=None
    )
    scene >> eof << Ended(reason="the proxy closed the connection (associated)")


def test_a_message_that_makes_no_sense_is_dropped() -> None:
    scene = play(Command.UDP_ASSOCIATE)
    scene >> received(*ASSOCIATED, "06 09 000c 0102030405060708", "06 02 000c 0102030405060708")
    scene.machine.next_event()
    scene.machine.next_event()
    scene << AssociationMessageReceived(
        message=AssociationConfirmation(association_id=0x0102030405060708), layout=None
    )


def test_after_many_messages_that_make_no_sense_others_get_their_turn() -> None:
    scene = play(Command.UDP_ASSOCIATE)
    scene >> received(*ASSOCIATED, *["06 09 000c 0102030405060708"] * (MAX_IGNORED_MESSAGES + 1), "06 02")
    scene.machine.next_event()
    scene.machine.next_event()
    scene.machine.data_to_send()
    scene << MessagesIgnored() << nothing
    scene >> received("000c 0102030405060708")
    scene << AssociationMessageReceived(
        message=AssociationConfirmation(association_id=0x0102030405060708), layout=None
    )


def test_nothing_is_told_behind_a_message_that_makes_no_sense() -> None:
    scene = play(Command.UDP_ASSOCIATE)
    scene >> received(*ASSOCIATED, "06 09 000c 0102030405060708")
    scene.machine.next_event()
    scene.machine.next_event()
    scene.machine.data_to_send()
    scene << nothing


def test_a_version_other_than_ours_ends_an_association() -> None:
    scene = play(Command.UDP_ASSOCIATE)
    scene >> received(*ASSOCIATED, "05 09 000c 0102030405060708")
    scene.machine.next_event()
    scene.machine.next_event()
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.VERSION


def test_where_both_layouts_fit_that_of_our_own_messages_counts() -> None:
    for layout, port in ((None, 1), (DatagramLayout.CONSISTENT, 256)):
        scene = play(Command.UDP_ASSOCIATE)
        if layout is not None:
            scene.machine.expect_layout(layout)
        scene >> received(*ASSOCIATED, "06 03 0014 0102030405060708 0100 0001 c0000201")
        scene.machine.next_event()
        scene.machine.next_event()
        event = scene.machine.next_event()
        assert isinstance(event, AssociationMessageReceived)
        assert isinstance(event.message, Datagram)
        assert event.message.port == port


def test_a_banned_method_is_refused_at_once() -> None:
    class Banned(UsernamePasswordClient):
        number = 6

    with pytest.raises(ValueError, match="banned"):
        play(methods=(Banned(ALICE),))


def test_initial_data_belong_to_connect() -> None:
    with pytest.raises(ValueError, match="CONNECT"):
        play(Command.NOOP, initial_data=b"x")


def test_initial_data_are_bounded_where_a_negotiation_may_follow() -> None:
    with pytest.raises(ValueError, match="16385"):
        play(methods=(ChallengeClient(),), initial_data=bytes(16385))
    play(initial_data=bytes(16385))


def test_authentication_data_reaches_the_method_that_it_is_for() -> None:
    ours = two_stage.TwoStageClient()
    scene = asked(methods=(ours,))
    scene >> received("06 01 0018  0003 0008 81 000000  0004 0010 81 0102030405060708 000000")
    scene << sent(two_stage.answer(b"secret", two_stage.CHALLENGE).hex())
    scene >> received("06 00 0000")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert ours.told == [(two_stage.CHALLENGE + bytes(3), None), (None, True)]


def test_every_message_can_be_traced() -> None:
    seen: list[tuple[str, str]] = []

    def trace(direction: str, message: object) -> None:
        seen.append((direction, type(message).__name__))

    scene = asked(Command.UDP_ASSOCIATE, trace=trace)
    scene >> received("06 00 0000", BOUND, "06 01 000c 0102030405060708")
    while scene.machine.next_event() is not None:
        pass
    assert seen == [
        (">", "Request"),
        ("<", "AuthenticationReply"),
        ("<", "OperationReply"),
        ("<", "AssociationInitialization"),
    ]
