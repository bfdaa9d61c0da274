"""The server's conversation from the request to the successful Authentication Reply."""

from collections.abc import Callable, Mapping

import pytest
from typing_extensions import override

from socks6.errors import LocalProtocolError
from socks6.message.codes import Command
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    Option,
    SessionInvalid,
    SessionOk,
)
from socks6.message.replies import AuthenticationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.protocol.admission import MAX_NEGOTIATION
from socks6.protocol.events import (
    Authenticated,
    AuthenticationRefused,
    CredentialsOffered,
    Ended,
    Violation,
    ViolationKind,
)
from socks6.protocol.methods.base import ServerMethod
from socks6.protocol.methods.userpass import UsernamePasswordCredentials, UsernamePasswordServer
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ServerState
from tests.kit.challenge import FIRST, NUMBER, SECOND, ChallengeCredentials, ChallengeServer, answer
from tests.kit.playbook import Elapsed, Playbook, Received, Sent, eof, nothing, received, sent, unread

ALICE = UsernamePassword(username=b"alice", password=b"123456")
OFFER = AuthenticationData(method=2, data=ALICE.encode())
CREDENTIALS = CredentialsOffered(
    credentials=UsernamePasswordCredentials(username=b"alice", password=b"123456")
)
PASSWORD: Mapping[int, Callable[[], ServerMethod]] = {2: UsernamePasswordServer}
CHALLENGE: Mapping[int, Callable[[], ServerMethod]] = {NUMBER: ChallengeServer}
BOTH = {**PASSWORD, **CHALLENGE}


def advertise(*methods: int, initial_data_length: int = 0) -> AuthenticationMethodAdvertisement:
    return AuthenticationMethodAdvertisement(methods=methods, initial_data_length=initial_data_length)


def asked(
    *options: Option,
    methods: Mapping[int, Callable[[], ServerMethod]] = PASSWORD,
    command: Command = Command.CONNECT,
    data: bytes = b"",
    required: bool = True,
) -> Playbook[ServerConversation]:
    """Return a conversation that has received a request with these options and is authenticating it."""
    scene = Playbook(ServerConversation(methods=methods, authentication_required=required, deadline=10.0))
    scene >> Received(Request(command=command, host="127.0.0.1", port=80, options=options).encode() + data)
    scene.machine.next_event()
    scene.machine.authenticate()
    return scene


def refused(scene: Playbook[ServerConversation]) -> AuthenticationReply:
    event = scene.machine.next_event()
    assert isinstance(event, AuthenticationRefused)
    assert scene.machine.state is ServerState.CLOSING
    return event.reply


def test_without_users_everybody_is_let_in() -> None:
    scene = asked(required=False)
    scene << Authenticated() << nothing
    scene.machine.send_authenticated()
    scene << sent("06 00 0000") << nothing


def test_credentials_have_their_answer_where_none_are_needed_too() -> None:
    scene = asked(OFFER, required=False)
    scene << CREDENTIALS
    scene.machine.verified(accepted=True)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0008", "0004 0008 02 0100 00")


def test_wrong_credentials_do_no_harm_where_none_are_needed() -> None:
    scene = asked(OFFER, required=False)
    scene << CREDENTIALS
    scene.machine.verified(accepted=False)
    scene << Authenticated() << nothing


def test_right_credentials_count_without_an_advertisement() -> None:
    scene = asked(OFFER)
    scene << CREDENTIALS
    scene.machine.verified(accepted=True)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0008", "0004 0008 02 0100 00")


def test_wrong_credentials_are_answered_in_the_methods_terms() -> None:
    scene = asked(OFFER)
    scene << CREDENTIALS
    scene.machine.verified(accepted=False)
    scene << sent("06 01 0008", "0004 0008 02 0101 00")
    refused(scene)


def test_credentials_that_cannot_be_checked_now_are_refused_without_a_word_about_them() -> None:
    scene = asked(OFFER)
    scene << CREDENTIALS
    scene.machine.refuse(reason="busy")
    scene << sent("06 01 0000")
    refused(scene)


def test_wrong_credentials_end_it_even_if_a_method_is_advertised() -> None:
    scene = asked(OFFER, advertise(NUMBER), methods=BOTH)
    scene.machine.next_event()
    scene.machine.verified(accepted=False)
    scene << sent("06 01 0008", "0004 0008 02 0101 00")


def test_no_credentials_at_all_are_refused() -> None:
    scene = asked()
    scene << sent("06 01 0000")
    refused(scene)


def test_malformed_credentials_are_no_credentials() -> None:
    scene = asked(AuthenticationData(method=2, data=b"\x05rubbish"))
    scene << sent("06 01 0000")


def test_credentials_of_an_unknown_method_are_no_credentials() -> None:
    asked(AuthenticationData(method=99, data=b"abc")) << sent("06 01 0000")


def test_an_offer_that_proves_nothing_is_passed_over() -> None:
    scene = asked(AuthenticationData(method=NUMBER, data=b"abc"), OFFER, methods=BOTH)
    scene << CREDENTIALS


def test_an_advertisement_of_nothing_acceptable_is_told_so() -> None:
    scene = asked(advertise(1, 3))
    scene << sent("06 01 0008", "0003 0008 ff 000000")
    refused(scene)


def test_password_authentication_is_never_selected() -> None:
    asked(advertise(2)) << sent("06 01 0008", "0003 0008 ff 000000")  # it is exclusively 0-RTT


def test_an_advertised_slow_method_is_selected() -> None:
    scene = asked(advertise(2, NUMBER), methods=BOTH)
    scene << sent("06 01 0008", "0003 0008 80 000000", FIRST.hex()) << nothing
    assert scene.machine.state is ServerState.NEGOTIATING


def negotiated(
    data: bytes = b"", *, command: Command = Command.CONNECT, initial: int = 0
) -> Playbook[ServerConversation]:
    scene = asked(
        advertise(NUMBER, initial_data_length=initial), methods=CHALLENGE, command=command, data=data
    )
    scene.machine.data_to_send()
    return scene


def test_two_rounds_lead_to_a_second_authentication_reply() -> None:
    scene = negotiated()
    scene >> received("05", b"alice".hex()) << Sent(SECOND) << nothing
    scene >> Received(answer(FIRST + SECOND))
    scene << CredentialsOffered(credentials=ChallengeCredentials(name=b"alice", right=True))
    scene.machine.verified(accepted=True)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0000")


def test_the_second_authentication_reply_cannot_continue() -> None:
    scene = negotiated()
    scene >> Received(b"\x05alice" + bytes(8))
    scene.machine.next_event()
    scene.machine.data_to_send()
    scene.machine.verified(accepted=False)
    scene << sent("06 01 0000")
    assert refused(scene).options == ()


def test_initial_data_is_cut_out_of_a_slow_authentication() -> None:
    scene = negotiated(b"GET", initial=6)
    assert scene.machine.bytes_wanted() == 3 + 1
    scene >> Received(b" / \x05alice" + answer(FIRST + SECOND) + b"more")
    assert isinstance(scene.machine.next_event(), CredentialsOffered)
    scene << unread(b"GET / more")


def test_initial_data_of_other_commands_is_dropped() -> None:
    scene = negotiated(b"GET", initial=6, command=Command.NOOP)
    scene >> Received(b" / \x05alice" + answer(FIRST + SECOND))
    assert isinstance(scene.machine.next_event(), CredentialsOffered)
    scene << unread(b"")


def test_initial_data_stays_in_the_stream_when_nothing_slow_follows() -> None:
    scene = asked(OFFER, advertise(NUMBER, initial_data_length=3), data=b"GET / ")
    scene << CREDENTIALS << unread(b"GET / ")


def test_it_wants_what_the_method_wants() -> None:
    scene = negotiated()
    assert scene.machine.bytes_wanted() == 1
    scene >> received("05")
    assert scene.machine.bytes_wanted() == 5


def test_a_methods_bad_bytes_end_it() -> None:
    scene = negotiated()
    scene >> received("00 00") << sent("06 01 0000")
    scene << Violation(kind=ViolationKind.MALFORMED, reason="method 128: empty name")


class Endless(ChallengeServer):
    """Takes bytes for ever."""

    @override
    def receive_data(self, data: bytes) -> None:
        return None


def test_a_methods_exchange_is_bounded() -> None:
    scene = asked(advertise(NUMBER), methods={NUMBER: Endless})
    scene.machine.data_to_send()
    scene >> Received(bytes(MAX_NEGOTIATION)) << nothing
    scene >> Received(b"x") << sent("06 01 0000")
    assert isinstance(scene.machine.next_event(), Violation)


def test_the_deadline_holds_for_negotiations() -> None:
    scene = negotiated()
    scene >> Elapsed(10.0)
    assert isinstance(scene.machine.next_event(), Violation)
    scene << nothing


def test_a_client_may_leave_in_mid_negotiation() -> None:
    negotiated() >> eof << Ended(reason="the client closed its side")


def waiting(*options: Option) -> Playbook[ServerConversation]:
    scene = Playbook(ServerConversation(methods=PASSWORD, authentication_required=True, deadline=10.0))
    scene >> Received(Request(command=Command.NOOP, host="0.0.0.0", port=0, options=options).encode())
    scene.machine.next_event()
    return scene


def test_a_session_stands_for_credentials() -> None:
    scene = waiting(OFFER)
    scene.machine.accept_session()
    scene << Authenticated()
    scene.machine.send_authenticated((SessionOk(),))
    scene << sent("06 00 0004", "0008 0004")


def test_an_invalid_session_is_refused_with_its_option() -> None:
    scene = waiting()
    scene.machine.refuse((SessionInvalid(),), reason="no such session")
    scene << sent("06 01 0004", "0009 0004")
    assert refused(scene).options == (SessionInvalid(),)


def test_a_request_may_be_refused_after_its_session_was_accepted() -> None:
    scene = waiting()
    scene.machine.accept_session()
    scene.machine.next_event()
    scene.machine.refuse((SessionOk(),), reason="token spent")
    scene << sent("06 01 0004", "0008 0004")


def test_success_cannot_be_sent_before_authentication() -> None:
    with pytest.raises(LocalProtocolError):
        waiting().machine.send_authenticated()


def test_only_offered_credentials_can_be_verified() -> None:
    with pytest.raises(LocalProtocolError):
        waiting().machine.verified(accepted=True)


def test_a_client_may_not_be_refused_twice() -> None:
    scene = waiting()
    scene.machine.refuse(reason="banned")
    with pytest.raises(LocalProtocolError):
        scene.machine.refuse(reason="banned")
