"""The proxy's side of SOCKS 4, 4a and 5 handshakes."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.codes import ReplyCode
from socks6.message.socks4 import Socks4Request
from socks6.message.socks5 import Socks5Request
from socks6.protocol.events import CredentialsOffered, Ended, Violation, ViolationKind
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.protocol.socks5 import MethodRefused, Socks5Conversation, Socks5State, SocksRequestReceived
from tests.kit.playbook import Playbook, eof, nothing, received, sent, unread

GREETING_NONE = "05 01 00"
GREETING_PASSWORD = "05 01 02"
GREETING_BOTH = "05 02 00 02"
CREDENTIALS = "01 02 6d65 03 313233"
REQUEST5 = "05 01 00 03 09 612e6578616d706c65 0050"
REQUEST4 = "04 01 0050 c0000201 6d65 00"
REQUEST4A = "04 01 0050 00000001 00 612e6578616d706c65 00"

ASKED5 = SocksRequestReceived(request=Socks5Request(command=1, host="a.example", port=80))
ASKED4 = SocksRequestReceived(request=Socks4Request(command=1, host="192.0.2.1", port=80, user=b"me"))
ASKED4A = SocksRequestReceived(request=Socks4Request(command=1, host="a.example", port=80))
OFFERED = CredentialsOffered(credentials=UsernamePasswordCredentials(username=b"me", password=b"123"))


def talk(*, required: bool = False) -> Playbook[Socks5Conversation]:
    return Playbook(Socks5Conversation(authentication_required=required))


def malformed(reason: str) -> Violation:
    return Violation(kind=ViolationKind.MALFORMED, reason=reason)


def test_socks5_without_authentication() -> None:
    play = talk()
    play >> received(GREETING_NONE)
    play << sent("05 00") << nothing
    play >> received(REQUEST5)
    play << ASKED5 << nothing
    play.machine.send_success("192.0.2.9", 4000)
    play << sent("05 00 00 01 c0000209 0fa0") << nothing
    assert play.machine.state is Socks5State.STREAMING


@pytest.mark.parametrize(
    ("request_bytes", "is_it"), [(GREETING_NONE + REQUEST5, True), (REQUEST4, False), ("", False)]
)
def test_it_says_which_protocol_the_request_is_of(request_bytes: str, is_it: bool) -> None:
    play = talk()
    play >> received(request_bytes)
    assert play.machine.speaks_socks5 is is_it


def test_socks5_with_username_and_password() -> None:
    play = talk(required=True)
    play >> received(GREETING_BOTH)
    play << sent("05 02") << nothing
    play >> received(CREDENTIALS)
    play << OFFERED << nothing
    play.machine.verified(accepted=True)
    play << sent("01 00") << nothing
    play >> received(REQUEST5)
    play << ASKED5 << nothing


def test_wrong_credentials_end_the_conversation() -> None:
    play = talk(required=True)
    play >> received(GREETING_PASSWORD, CREDENTIALS)
    play << sent("05 02") << OFFERED
    play.machine.verified(accepted=False)
    play << sent("01 01") << nothing
    assert play.machine.bytes_wanted() == 0


def test_credentials_that_cannot_be_checked_now_end_the_conversation_otherwise() -> None:
    play = talk(required=True)
    play >> received(GREETING_PASSWORD, CREDENTIALS)
    play << sent("05 02") << OFFERED
    play.machine.cannot_verify()
    play << sent("01 02") << nothing
    assert play.machine.bytes_wanted() == 0


def test_a_client_that_can_do_without_authentication_is_let_in_at_once() -> None:
    play = talk()
    play >> received(GREETING_BOTH)
    play << sent("05 00")


def test_a_client_that_insists_on_a_password_may_tell_it() -> None:
    play = talk()
    play >> received(GREETING_PASSWORD, CREDENTIALS, REQUEST5)
    play << sent("05 02") << OFFERED
    play.machine.verified(accepted=True)
    play << sent("01 00") << ASKED5


def test_everything_in_one_write_works_and_the_rest_is_the_streams() -> None:
    play = talk(required=True)
    play >> received(GREETING_PASSWORD, CREDENTIALS, REQUEST5, "474554")
    play << OFFERED
    play.machine.verified(accepted=True)
    play << ASKED5
    play.machine.send_success("a.example", 80)
    play << sent("05 02", "01 00", "05 00 00 03 09 612e6578616d706c65 0050")
    play << unread(b"GET") << unread(b"")


@pytest.mark.parametrize(
    ("required", "methods"), [(False, ""), (False, "01"), (True, ""), (True, "00"), (True, "00 01 03")]
)
def test_no_acceptable_method(required: bool, methods: str) -> None:
    play = talk(required=required)
    offered = bytes.fromhex(methods)
    play >> received(f"05 {len(offered):02x}", methods, REQUEST5)
    play << MethodRefused(reason=f"no acceptable method among {tuple(offered)}")
    play << sent("05 ff") << nothing << unread(b"")


def test_socks4() -> None:
    play = talk()
    play >> received(REQUEST4, "474554")
    play << ASKED4 << nothing
    play.machine.send_success("192.0.2.9", 4000)
    play << sent("00 5a 0fa0 c0000209") << unread(b"GET")


def test_socks4a() -> None:
    play = talk()
    play >> received(REQUEST4A)
    play << ASKED4A << nothing
    play.machine.send_failure(ReplyCode.CONNECTION_REFUSED)
    play << sent("00 5b 0000 00000000") << nothing


def test_socks4_is_refused_where_users_are_demanded() -> None:
    play = talk(required=True)
    play >> received(REQUEST4)
    play << MethodRefused(reason="SOCKS 4 knows no passwords")
    play << sent("00 5d 0000 00000000") << nothing


@pytest.mark.parametrize(("code", "answer"), [(2, "02"), (5, "05"), (9, "04"), (0x77, "01")])
def test_failures_are_told_in_socks5_codes(code: int, answer: str) -> None:
    play = talk()
    play >> received(GREETING_NONE, REQUEST5)
    play << sent("05 00") << ASKED5
    play.machine.send_failure(code)
    play << sent(f"05 {answer} 00 01 00000000 0000") << nothing
    assert play.machine.state is Socks5State.CLOSING


@pytest.mark.parametrize(
    ("said", "reason", "answer"),
    [
        ("06", "a SOCKS 6 client: listen on mixed:// for those", "05 ff"),
        ("16", "a TLS client: listen on socks5+tls:// for those", "15 0301 0002 02 0a"),
        ("07", "first byte 0x07: not SOCKS 5", "05 ff"),
    ],
)
def test_another_protocol_is_named_and_answered(said: str, reason: str, answer: str) -> None:
    play = talk()
    play >> received(said)
    play << malformed(reason) << sent(answer) << nothing


def test_what_may_still_be_ssh_is_waited_for() -> None:
    play = talk()
    play >> received("53 53") << nothing
    assert play.machine.bytes_wanted() == 1
    play >> received("48 2d")
    play << malformed("an ssh client")


def test_credentials_of_another_version_are_rejected() -> None:
    play = talk()
    play >> received(GREETING_PASSWORD)
    play << sent("05 02")
    play >> received("05 01 00")
    play << malformed("first byte 0x05 while awaiting credentials") << sent("01 01") << nothing


def test_a_request_of_another_version_fails() -> None:
    play = talk()
    play >> received(GREETING_NONE)
    play << sent("05 00")
    play >> received("04")
    play << malformed("first byte 0x04 while awaiting request") << sent("05 01 00 01 00000000 0000")


def test_an_unknown_address_type_is_told() -> None:
    play = talk()
    play >> received(GREETING_NONE, "05 01 00 02 00")
    play << malformed("unknown address type 2") << sent("05 00", "05 08 00 01 00000000 0000") << nothing


def test_an_impossible_name_fails() -> None:
    play = talk()
    play >> received(GREETING_NONE, "05 01 00 03 02 2e2e 0050")
    play << malformed("an impossible host name") << sent("05 00", "05 01 00 01 00000000 0000")


def test_an_impossible_socks4a_name_is_rejected() -> None:
    play = talk()
    play >> received("04 01 0050 00000001 00 00")
    play << malformed("an impossible host name") << sent("00 5b 0000 00000000") << nothing


def test_an_endless_user_id_is_rejected() -> None:
    play = talk()
    play >> received("04 01 0050 c0000201", "61" * 256)
    play << malformed("a string of more than 255 bytes") << sent("00 5b 0000 00000000")


@pytest.mark.parametrize(
    "so_far", ["", "05", GREETING_NONE, GREETING_PASSWORD, GREETING_PASSWORD + "01", "04"]
)
def test_a_client_that_leaves_early(so_far: str) -> None:
    play = talk()
    play >> received(so_far) >> eof
    play << Ended(reason="the client closed its side")
    assert play.machine.bytes_wanted() == 0


@pytest.mark.parametrize("so_far", [REQUEST4, GREETING_NONE + REQUEST5])
def test_the_end_after_the_request_is_the_streams(so_far: str) -> None:
    play = talk()
    play >> received(so_far) >> eof
    play.machine.next_event()
    play.machine.send_failure(1)
    assert play.machine.next_event() is None


def test_bytes_wanted_never_reach_past_the_message() -> None:
    machine = Socks5Conversation(authentication_required=True)
    taken = b""
    whole = bytes.fromhex(GREETING_BOTH + CREDENTIALS + REQUEST5)
    while (wanted := machine.bytes_wanted()) > 0:
        assert len(taken) + wanted <= len(whole)
        machine.receive_data(whole[len(taken) : len(taken) + wanted], 0.0)
        taken = whole[: len(taken) + wanted]
        if machine.state is Socks5State.VERIFYING:
            assert machine.bytes_wanted() == 0
            machine.verified(accepted=True)
    assert taken == whole


def test_nothing_is_ever_due() -> None:
    machine = Socks5Conversation(authentication_required=False)
    assert machine.next_timeout() is None
    machine.handle_timeout(1e9)
    assert machine.state is Socks5State.AWAITING_GREETING


def test_answers_out_of_turn_are_our_callers_fault() -> None:
    machine = Socks5Conversation(authentication_required=False)
    with pytest.raises(LocalProtocolError, match="'reply: success' while awaiting greeting"):
        machine.send_success("192.0.2.1", 1)
    with pytest.raises(LocalProtocolError, match="'reply: failure'"):
        machine.send_failure(1)
    with pytest.raises(LocalProtocolError, match="'credentials hold'"):
        machine.verified(accepted=True)


BIND5, BIND4 = "05 02 00 01 c0000201 0014", "04 02 0014 c0000201 00"


def binding(request: str = BIND5) -> Playbook[Socks5Conversation]:
    """Return a conversation whose client has asked for a BIND."""
    play = talk()
    if request == BIND5:
        play >> received(GREETING_NONE) << sent("05 00")
    play >> received(request)
    assert isinstance(play.machine.next_event(), SocksRequestReceived)
    return play


@pytest.mark.parametrize(
    ("request_", "first", "second"),
    [
        (BIND5, "05 00 00 01 c0000209 0fa0", "05 00 00 01 c0000201 0014"),
        (BIND4, "00 5a 0fa0 c0000209", "00 5a 0014 c0000201"),
    ],
)
def test_a_bind_is_answered_twice(request_: str, first: str, second: str) -> None:
    play = binding(request_)
    play.machine.send_success("192.0.2.9", 4000)
    play << sent(first) << nothing
    play >> received("6869") << nothing
    play.machine.send_success("192.0.2.1", 20)
    play << sent(second) << unread(b"hi")
    assert play.machine.state is Socks5State.STREAMING
    with pytest.raises(LocalProtocolError):
        play.machine.send_success("192.0.2.1", 20)


@pytest.mark.parametrize("successes", [0, 1])
def test_a_bind_may_fail_before_and_after_listening(successes: int) -> None:
    play = binding()
    for _ in range(successes):
        play.machine.send_success("192.0.2.9", 4000)
        play.machine.data_to_send()
    play.machine.send_failure(ReplyCode.CONNECTION_TIMED_OUT)
    play << sent("05 04 00 01 00000000 0000")
    assert play.machine.state is Socks5State.CLOSING


def test_a_client_that_leaves_while_it_waits_for_a_peer_is_gone() -> None:
    play = binding()
    play.machine.send_success("192.0.2.9", 4000)
    play.machine.data_to_send()
    play >> eof << Ended(reason="the client closed its side") << nothing
    assert play.machine.state is Socks5State.CLOSING


def test_every_message_can_be_traced() -> None:
    seen: list[tuple[str, str]] = []
    machine = Socks5Conversation(
        authentication_required=False,
        trace=lambda direction, message: seen.append((direction, type(message).__name__)),
    )
    machine.receive_data(bytes.fromhex("05 01 00 05 01 00 01 7f000001 0050"), 0.0)
    machine.send_success("127.0.0.1", 1)
    assert seen == [
        ("<", "Socks5Greeting"),
        (">", "Socks5MethodSelection"),
        ("<", "Socks5Request"),
        (">", "Socks5Reply"),
    ]


def test_the_refusal_of_another_protocol_can_be_traced() -> None:
    seen: list[tuple[str, object]] = []
    machine = Socks5Conversation(
        authentication_required=False, trace=lambda direction, message: seen.append((direction, message))
    )
    machine.receive_data(b"\7", 0.0)
    assert seen == [(">", bytes.fromhex("05 ff"))]
