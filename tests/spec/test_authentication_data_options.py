"""§ Authentication Data options."""

import pytest

from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    UnknownOption,
    encode_options,
    find_all,
)
from socks6.message.replies import AuthenticationReply
from socks6.message.requests import Request
from socks6.protocol.events import (
    Authenticated,
    AuthenticationAccepted,
    AuthenticationRefused,
    CredentialsOffered,
    Violation,
    ViolationKind,
)
from tests.kit import two_stage
from tests.kit.challenge import NUMBER, ChallengeClient
from tests.kit.playbook import Received, received, sent
from tests.kit.scenes import ALICE, alice, asking, client, judged, server

OFFER = AuthenticationData(method=2, data=bytes.fromhex("01 05 616c696365 06 313233343536"))


def test_the_fields_stand_where_the_figure_puts_them() -> None:
    option = AuthenticationData(method=0x80, data=b"abc")
    assert encode_options((option,)) == bytes.fromhex("0004 0008 80 616263")


def test_it_is_read_in_requests_and_authentication_replies() -> None:
    option = AuthenticationData(method=0x80, data=b"abc")
    request = Request(command=0, host="0.0.0.0", port=0, options=(option,))
    reply = AuthenticationReply(type=0, options=(option,))
    assert Request.decode(request.encode()) == request
    assert AuthenticationReply.decode(reply.encode()) == reply


def test_a_client_must_not_place_two_for_one_method() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        client(methods=(alice(),), options=(OFFER,))


def test_a_client_cannot_have_two_methods_of_one_number() -> None:
    with pytest.raises(ValueError, match="two authentication methods"):
        client(methods=(alice(), alice()))


def test_a_client_may_place_one_for_each_method() -> None:
    scene = client(methods=(alice(),), options=(AuthenticationData(method=0x80, data=b"abc"),))
    request = Request.decode(scene.machine.data_to_send())
    assert {option.method for option in find_all(request.options, AuthenticationData)} == {2, 0x80}


def test_of_two_for_one_method_the_first_counts() -> None:
    whole = bytes.fromhex("06 00 0010 0000 00 01 00000000  0004 0008 80 616263  0004 0008 80 646566")
    first, second = Request.decode(whole).options
    assert first == AuthenticationData(method=0x80, data=b"abc")
    assert isinstance(second, UnknownOption)


def test_it_needs_no_advertisement() -> None:
    judged(OFFER) << CredentialsOffered(credentials=ALICE)


def test_it_goes_with_an_advertisement_of_other_methods() -> None:
    scene = judged(OFFER, AuthenticationMethodAdvertisement(methods=(NUMBER,)))
    scene << CredentialsOffered(credentials=ALICE)
    scene.machine.verified(accepted=True)
    scene << Authenticated()


def test_one_method_that_holds_is_enough() -> None:
    scene = judged(AuthenticationData(method=NUMBER, data=b"abc"), OFFER)
    scene << CredentialsOffered(credentials=ALICE)


def test_data_of_unknown_methods_is_passed_over() -> None:
    scene = judged(AuthenticationData(method=1, data=b"gssapi"), OFFER)
    scene << CredentialsOffered(credentials=ALICE)


def test_data_of_unknown_methods_alone_leads_to_a_negotiation() -> None:
    scene = judged(
        AuthenticationData(method=1, data=b"gssapi"), AuthenticationMethodAdvertisement(methods=(NUMBER,))
    )
    scene << sent("06 01 0008", "0003 0008 80 000000", "01020304")


def test_a_method_without_an_offer_writes_none() -> None:
    scene = client(methods=(ChallengeClient(),))
    assert not find_all(Request.decode(scene.machine.data_to_send()).options, AuthenticationData)


def test_secrets_are_no_business_of_logs() -> None:
    assert "123456" not in repr(OFFER)
    assert "123456" not in repr(CredentialsOffered(credentials=ALICE))


def test_a_challenge_may_come_in_the_first_reply() -> None:
    proxy = server(required=True, methods={two_stage.NUMBER: two_stage.TwoStageServer})
    ours = two_stage.TwoStageClient()
    scene = client(methods=(ours,))
    proxy >> Received(scene.machine.data_to_send())
    proxy.machine.next_event()
    proxy.machine.authenticate()
    first = proxy.machine.data_to_send()
    assert first == bytes.fromhex("06 01 0018  0003 0008 81 000000  0004 0010 81 0102030405060708 000000")
    scene >> Received(first)
    proxy >> Received(scene.machine.data_to_send())
    proxy << CredentialsOffered(credentials=two_stage.TwoStageCredentials(name=b"alice", right=True))
    proxy.machine.verified(accepted=True)
    proxy << Authenticated()
    proxy.machine.send_authenticated()
    scene >> Received(proxy.machine.data_to_send())
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)
    assert ours.told == [
        (two_stage.CHALLENGE + bytes(3), None),
        (two_stage.counter_proof(b"secret", two_stage.CHALLENGE) + bytes(3), True),
    ]


@pytest.mark.parametrize(
    "replies",
    [
        ("06 01 0008  0003 0008 81 000000",),  # no challenge
        ("06 01 0018  0003 0008 81 000000  0004 0010 81 0102030405060708 000000", "06 00 0000"),  # no proof
        (
            "06 01 0018  0003 0008 81 000000  0004 0010 81 0102030405060708 000000",
            "06 00 0008  0004 0008 81 000000",
        ),
    ],
)
def test_a_client_does_not_put_up_with_what_its_method_does_not(replies: tuple[str, ...]) -> None:
    scene = asking(methods=(two_stage.TwoStageClient(),))
    for reply in replies:
        scene >> Received(bytes.fromhex(reply))
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED


def test_a_client_sees_what_is_said_to_its_methods_also_when_it_is_refused() -> None:
    ours = two_stage.TwoStageClient()
    scene = asking(methods=(ours, alice()))
    scene >> received("06 01 0010  0004 0008 81 616263  0004 0008 02 0101 00")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert ours.told == [(b"abc", False)]
