"""§ False Starts."""

from socks6.message.options import AuthenticationData, AuthenticationMethodAdvertisement
from socks6.protocol.events import Authenticated, CredentialsOffered
from tests.kit.challenge import FIRST, NUMBER, SECOND, ChallengeClient, answer
from tests.kit.playbook import Received, sent, unread
from tests.kit.scenes import ALICE, alice, client, judged

OFFER = AuthenticationData(method=2, data=bytes.fromhex("01 05 616c696365 06 313233343536"))
SELECTED = "06 01 0008", "0003 0008 80 000000"


# What the client may send.


def test_without_an_advertisement_any_amount_may_follow_the_request() -> None:
    scene = client(methods=(alice(),), initial_data=bytes(100_000))
    assert len(scene.machine.data_to_send()) > 100_000


def test_with_an_advertisement_only_the_initial_data_follow_the_request() -> None:
    scene = client(methods=(ChallengeClient(),), initial_data=b"GET /")
    scene << sent("06 01 0008 0050 00 01 7f000001", "0002 0008 0005 80 00", b"GET /".hex())


# What the proxy makes of it.


def test_early_data_wait_while_credentials_are_verified() -> None:
    scene = judged(OFFER, data=b"GET /")
    scene << CredentialsOffered(credentials=ALICE)
    scene.machine.verified(accepted=True)
    scene << Authenticated() << unread(b"GET /")


def test_without_an_advertisement_no_negotiation_ever_happens() -> None:
    scene = judged(OFFER, data=b"GET /")
    scene.machine.next_event()
    scene.machine.verified(accepted=False)
    scene << sent("06 01 0008", "0004 0008 02 0101 00")  # no Selection: the early data were safe


def test_early_data_in_pieces_stay_in_their_order() -> None:
    scene = judged(OFFER, data=b"G")
    scene >> Received(b"E")
    scene.machine.verified(accepted=True)
    scene >> Received(b"T")
    scene.machine.send_authenticated()
    scene >> Received(b" /")
    scene << unread(b"GET /")


def test_early_data_behind_a_negotiation_reach_the_stream() -> None:
    scene = judged(AuthenticationMethodAdvertisement(methods=(NUMBER,)))
    scene >> Received(b"\x05alice" + answer(FIRST + SECOND) + b"GET") >> Received(b" /")
    scene.machine.verified(accepted=True)
    scene << unread(b"GET /")


def test_early_data_that_look_like_a_request_are_data() -> None:
    twice = bytes.fromhex("06 01 0000 0050 00 01 7f000001")
    scene = judged(data=twice, required=False)
    scene << Authenticated() << unread(twice)
