"""§ Authentication Method options."""

import pytest

from socks6.message.codes import Command
from socks6.message.options import (
    AuthenticationData,
    AuthenticationMethodAdvertisement,
    AuthenticationMethodSelection,
    Option,
    encode_options,
)
from socks6.message.replies import AuthenticationReply
from socks6.message.requests import MAX_INITIAL_DATA, Request
from socks6.protocol.events import (
    Authenticated,
    AuthenticationAccepted,
    AuthenticationRefused,
    CredentialsOffered,
    Violation,
    ViolationKind,
)
from socks6.protocol.states import ClientState, ServerState
from tests.kit.challenge import FIRST, NUMBER, SECOND, ChallengeClient, answer
from tests.kit.playbook import Elapsed, Received, eof, nothing, received, sent, unread
from tests.kit.scenes import alice, asking, client, judged, server

NAMED = b"\x05alice"


def advertised(*methods: int, initial: int = 0) -> AuthenticationMethodAdvertisement:
    return AuthenticationMethodAdvertisement(methods=methods, initial_data_length=initial)


def decode(*parts: str) -> Option:
    whole = bytes.fromhex("".join(parts))
    (option,) = Request.decode(bytes.fromhex(f"06 00 {len(whole):04x} 0000 00 01 00000000") + whole).options
    return option


# The Advertisement.


@pytest.mark.parametrize(
    ("methods", "written"),
    [
        ((1,), "0002 0008 0000 01 00"),
        ((1, 3), "0002 0008 0000 01 03"),
        ((1, 3, 5), "0002 000c 0000 01 03 05 000000"),
    ],
)
def test_padding_is_the_least_that_aligns(methods: tuple[int, ...], written: str) -> None:
    assert encode_options((advertised(*methods),)) == bytes.fromhex(written)


@pytest.mark.parametrize("written", ["0002 0008 0064 01 03", "0002 000c 0064 01 03 00000000"])
def test_padding_adds_no_method(written: str) -> None:
    assert decode(written) == advertised(1, 3, initial=100)


def test_a_client_willing_to_negotiate_must_advertise() -> None:
    scene = client(methods=(ChallengeClient(),))
    scene << sent("06 01 0008 0050 00 01 7f000001", "0002 0008 0000 80 00")


def test_a_client_that_can_only_do_0_rtt_advertises_nothing() -> None:
    scene = client(methods=(alice(),))
    request = Request.decode(scene.machine.data_to_send())
    assert [type(option) for option in request.options] == [AuthenticationData]


def test_no_authentication_required_is_never_advertised() -> None:
    with pytest.raises(ValueError, match="advertised method"):
        advertised(0)


def test_a_client_must_support_no_authentication_required() -> None:
    scene = asking(methods=(ChallengeClient(), alice()))
    scene >> received("06 00 0000")  # whatever it could prove, nobody asks for it
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_a_success_that_names_no_authentication_required_is_a_success() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received("06 00 0008", "0003 0008 00 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationAccepted)


def test_an_advertisement_is_silently_ignored_when_none_is_required() -> None:
    scene = judged(advertised(NUMBER), required=False)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0000")


def test_an_advertisement_is_silently_ignored_when_0_rtt_data_hold() -> None:
    offer = AuthenticationData(method=2, data=bytes.fromhex("01 05 616c696365 06 313233343536"))
    scene = judged(advertised(NUMBER), offer)
    assert isinstance(scene.machine.next_event(), CredentialsOffered)
    scene.machine.verified(accepted=True)
    scene << Authenticated()
    scene.machine.send_authenticated()
    scene << sent("06 00 0008", "0004 0008 02 0100 00")


# The initial data.


def test_its_length_is_in_network_byte_order_before_the_methods() -> None:
    assert encode_options((advertised(1, initial=0x0102),)) == bytes.fromhex("0002 0008 0102 01 00")


def test_its_length_must_not_exceed_16384_when_written() -> None:
    with pytest.raises(ValueError, match="16384"):
        encode_options((advertised(1, initial=MAX_INITIAL_DATA + 1),))


def test_initial_data_of_16384_bytes_is_fine() -> None:
    scene = client(methods=(ChallengeClient(),), initial_data=bytes(16384))
    assert scene.machine.data_to_send()[16:18] == b"\x40\x00"


@pytest.mark.parametrize("command", Command)
def test_its_length_must_not_exceed_16384_when_read(command: Command) -> None:
    scene = server()
    scene >> received(f"06 {command:02x} 0008 0050 00 01 7f000001", "0002 0008 4001 01 00", "616263")
    scene << sent("06 01 0000")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED
    scene << unread(b"")


def test_it_follows_the_request_and_precedes_the_methods_bytes() -> None:
    scene = judged(advertised(NUMBER, initial=4), data=b"GET ")
    scene.machine.data_to_send()
    scene >> Received(NAMED + answer(FIRST + SECOND))
    assert isinstance(scene.machine.next_event(), CredentialsOffered)
    scene << unread(b"GET ")


def test_what_the_client_streams_after_the_method_comes_behind_the_initial_data() -> None:
    scene = judged(advertised(NUMBER, initial=4), data=b"GET " + NAMED + answer(FIRST + SECOND) + b"/ HTTP")
    assert isinstance(scene.machine.next_event(), CredentialsOffered)
    scene << unread(b"GET / HTTP")


def test_it_is_part_of_the_stream_when_nothing_is_negotiated() -> None:
    scene = judged(advertised(NUMBER, initial=4), data=b"GET / HTTP", required=False)
    scene << Authenticated() << unread(b"GET / HTTP")


@pytest.mark.parametrize("command", [Command.NOOP, Command.BIND, Command.UDP_ASSOCIATE])
def test_for_other_commands_it_is_consumed_and_discarded(command: Command) -> None:
    scene = judged(advertised(NUMBER, initial=4), command=command, data=b"GET " + NAMED)
    assert scene.machine.unread() == b""
    assert scene.machine.data_to_send().endswith(FIRST + SECOND)


def test_a_client_sends_initial_data_with_connect_alone() -> None:
    with pytest.raises(ValueError, match="CONNECT"):
        client(Command.BIND, initial_data=b"x")


def test_initial_data_announced_and_never_sent_runs_into_the_deadline() -> None:
    scene = judged(advertised(NUMBER, initial=4), data=b"GE")
    scene.machine.data_to_send()
    scene >> Elapsed(10.0)
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.DEADLINE
    scene << nothing


def test_initial_data_announced_and_never_sent_ends_with_the_stream() -> None:
    scene = judged(advertised(NUMBER, initial=4), data=b"GE")
    scene.machine.data_to_send()
    scene >> eof
    assert scene.machine.state is ServerState.CLOSING


def test_initial_data_announced_and_never_sent_does_not_hold_up_a_client_without_a_negotiation() -> None:
    judged(advertised(NUMBER, initial=4), required=False) << Authenticated()


# The Selection.


def test_a_selection_is_written_as_its_figure_shows() -> None:
    assert encode_options((AuthenticationMethodSelection(method=2),)) == bytes.fromhex("0003 0008 02 000000")


def test_the_proxy_indicates_the_method_that_must_proceed() -> None:
    reply = AuthenticationReply.decode(judged(advertised(1, NUMBER)).machine.data_to_send()[:12])
    assert reply.options == (AuthenticationMethodSelection(method=NUMBER),)


def test_no_acceptable_methods_makes_the_client_close() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received("06 01 0008", "0003 0008 ff 000000")
    assert isinstance(scene.machine.next_event(), AuthenticationRefused)
    assert scene.machine.state is ClientState.CLOSED


def test_the_proxy_closes_after_no_acceptable_methods() -> None:
    scene = judged(advertised(1))
    scene << sent("06 01 0008", "0003 0008 ff 000000")
    assert scene.machine.state is ServerState.CLOSING
