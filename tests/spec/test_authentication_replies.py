"""§ Authentication Replies."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    UnknownOption,
)
from socks6.message.replies import AuthenticationReply
from socks6.protocol.events import (
    Authenticated,
    AuthenticationAccepted,
    AuthenticationRefused,
    CredentialsOffered,
    Violation,
    ViolationKind,
)
from socks6.protocol.states import ClientState, ServerState
from tests.kit.challenge import FIRST, NUMBER, SECOND, ChallengeClient, ChallengeCredentials, answer
from tests.kit.playbook import Received, nothing, received, sent
from tests.kit.scenes import alice, asking, judged, server

CHALLENGE = AuthenticationMethodAdvertisement(methods=(NUMBER,))
SELECTED = "06 01 0008", "0003 0008 80 000000"
NAMED = b"\x05alice"


# The reply.


def test_the_fields_stand_where_the_figure_puts_them() -> None:
    reply = AuthenticationReply(type=1, options=(AuthenticationMethodSelection(method=2),))
    assert reply.encode() == bytes.fromhex("06 01 0008  0003 0008 02 000000")
    assert AuthenticationReply.decode(reply.encode()) == reply


def test_options_must_not_exceed_20_kb_when_written() -> None:
    options = (UnknownOption(kind=0xFE01, body=bytes(10240)),) * 2
    with pytest.raises(ValueError, match="20480"):
        AuthenticationReply(type=0, options=options).encode()


def test_options_must_not_exceed_20_kb_when_read() -> None:
    scene = asking()
    scene >> received("06 00 5004")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED


def test_every_valid_request_gets_one() -> None:
    scene = judged(required=False)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0000") << nothing


# When there is nothing to negotiate.


def test_a_failure_without_a_selection_makes_the_client_close() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received("06 01 0000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert scene.machine.state is ClientState.CLOSED


def test_an_unknown_type_is_a_failure() -> None:
    scene = asking()
    scene >> received("06 02 0000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert scene.machine.state is ClientState.CLOSED


def test_a_success_needs_no_selection() -> None:
    scene = asking(methods=(alice(),))
    scene >> received("06 00 0000")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_a_success_may_name_its_method() -> None:
    scene = asking(methods=(alice(),))
    scene >> received("06 00 0008", "0003 0008 02 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_no_data_and_no_authentication_configured_is_success() -> None:
    judged(required=False) << Authenticated()


def test_no_advertisement_and_no_data_is_failure() -> None:
    judged() << sent("06 01 0000")


def test_no_advertisement_and_data_of_an_unknown_method_is_failure() -> None:
    judged(AuthenticationData(method=0x90, data=b"abc")) << sent("06 01 0000")


def test_nothing_acceptable_is_told_by_a_selection_of_ff() -> None:
    judged(AuthenticationMethodAdvertisement(methods=(1, 3))) << sent("06 01 0008", "0003 0008 ff 000000")


def test_no_operation_reply_follows_a_failure() -> None:
    scene = judged()
    scene.machine.data_to_send()
    with pytest.raises(LocalProtocolError):
        scene.machine.send_authenticated()
    assert scene.machine.state is ServerState.CLOSING


# Negotiation.


def test_an_acceptable_method_is_selected_by_a_failure_that_can_continue() -> None:
    scene = judged(CHALLENGE)
    scene << sent(*SELECTED, FIRST.hex()) << nothing
    assert scene.machine.state is ServerState.NEGOTIATING


def test_a_client_carries_out_the_method_that_was_selected() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received(*SELECTED) >> Received(FIRST) << sent(NAMED.hex())
    scene >> Received(SECOND) << sent(answer(FIRST + SECOND).hex())
    scene >> received("06 00 0000")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_a_method_that_was_not_advertised_cannot_be_selected() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received("06 01 0008", "0003 0008 01 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert scene.machine.state is ClientState.CLOSED


def test_a_finished_negotiation_is_closed_by_a_second_reply_of_success() -> None:
    scene = judged(CHALLENGE)
    scene.machine.data_to_send()
    scene >> Received(NAMED + answer(FIRST + SECOND)) << sent(SECOND.hex())
    scene << CredentialsOffered(credentials=ChallengeCredentials(name=b"alice", right=True))
    scene.machine.verified(accepted=True)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0000")


def test_a_failed_negotiation_is_closed_by_a_second_reply_of_failure() -> None:
    scene = judged(CHALLENGE)
    scene >> Received(NAMED + bytes(8))
    scene.machine.data_to_send()
    scene.machine.verified(accepted=False)
    scene << sent("06 01 0000")
    assert scene.machine.state is ServerState.CLOSING


def test_a_broken_negotiation_is_closed_by_a_second_reply_of_failure() -> None:
    scene = judged(CHALLENGE)
    scene.machine.data_to_send()
    scene >> received("00") << sent("06 01 0000")


def test_the_second_reply_must_not_allow_for_further_negotiations() -> None:
    advertised = AuthenticationMethodAdvertisement(methods=(NUMBER, 1))
    scene = judged(advertised)
    scene >> Received(NAMED + bytes(8))
    scene.machine.data_to_send()
    scene.machine.verified(accepted=False)
    reply = AuthenticationReply.decode(scene.machine.data_to_send())
    assert not any(isinstance(option, AuthenticationMethodSelection) for option in reply.options)


def test_a_client_does_not_negotiate_after_a_second_reply() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received(*SELECTED) >> Received(FIRST + SECOND) >> received(*SELECTED)
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert scene.machine.state is ClientState.CLOSED


def test_the_negotiation_ends_exactly_where_the_stream_begins() -> None:
    scene = judged(CHALLENGE)
    scene >> Received(NAMED + answer(FIRST + SECOND) + b"GET /")
    assert scene.machine.unread() == b"GET /"


def test_what_the_far_side_says_behind_the_replies_is_kept_for_the_stream() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received(*SELECTED) >> Received(FIRST + SECOND)
    scene >> received("06 00 0000", "06 00 0000 0001 00 01 7f000001", "6869")
    assert scene.machine.unread() == b"hi"


def test_methods_are_tried_in_the_proxys_order() -> None:
    scene = server(required=True)
    advertised = AuthenticationMethodAdvertisement(methods=(2, NUMBER)).encode_body().hex()
    scene >> received("06 00 0008 0000 00 01 00000000", "0002 0008", advertised)
    scene.machine.next_event()
    scene.machine.authenticate()
    scene << sent(*SELECTED, FIRST.hex())  # a password is never asked for: it is 0-RTT only
