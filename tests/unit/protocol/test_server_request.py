"""The server's conversation until a request is there."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.codes import Command
from socks6.message.dialect import DRAFT_12, GO_212
from socks6.message.options import AuthenticationMethodAdvertisement
from socks6.message.requests import Request
from socks6.protocol.events import Ended, RequestReceived, Violation, ViolationKind
from socks6.protocol.methods.userpass import UsernamePasswordServer
from socks6.protocol.server import ServerConversation
from socks6.protocol.states import ServerState
from tests.kit.playbook import Elapsed, Playbook, eof, nothing, received, sent, unread

NOOP = Request(command=Command.NOOP, host="0.0.0.0", port=0)
CONNECT = Request(command=Command.CONNECT, host="127.0.0.1", port=80)


def play(**settings: object) -> Playbook[ServerConversation]:
    chosen: dict[str, object] = {"methods": {}, "authentication_required": False, "deadline": 10.0}
    return Playbook(ServerConversation(**{**chosen, **settings}))  # type: ignore[arg-type]  # tests name settings freely


def test_a_whole_request_is_told() -> None:
    scene = play()
    scene >> received("06 00 0000 0000 00 01 00000000")
    scene << RequestReceived(request=NOOP, dialect=DRAFT_12)
    scene << nothing


def test_a_request_may_come_in_pieces() -> None:
    scene = play()
    scene >> received("06 00 00") << nothing
    scene >> received("00 0000 00 01 00") << nothing
    scene >> received("000000") << RequestReceived(request=NOOP, dialect=DRAFT_12)


def test_what_follows_the_request_belongs_to_the_stream() -> None:
    scene = play()
    scene >> received("06 01 0000 0050 00 01 7f000001", "68 69")
    scene << RequestReceived(request=CONNECT, dialect=DRAFT_12)
    scene << unread(b"hi") << unread(b"")


def test_it_tells_the_clients_dialect() -> None:
    scene = play(dialects=(DRAFT_12, GO_212))
    assert scene.machine.dialect == DRAFT_12
    scene >> received("d4")
    assert scene.machine.dialect == GO_212


def test_it_wants_no_more_than_the_request() -> None:
    scene = play()
    assert scene.machine.bytes_wanted() == 1
    scene >> received("06 01 0000 0050 00 01")
    assert scene.machine.bytes_wanted() == 4
    scene >> received("7f")
    assert scene.machine.bytes_wanted() == 3
    scene >> received("000001")
    assert scene.machine.bytes_wanted() == 0


def test_another_version_is_answered_with_ours() -> None:
    scene = play()
    scene >> received("07 01 00") << sent("06")
    scene << Violation(kind=ViolationKind.VERSION, reason="first byte 0x07: not SOCKS 6") << nothing
    assert scene.machine.state is ServerState.CLOSING


def test_clients_of_other_versions_of_socks_are_named() -> None:
    scene = play()
    scene >> received("04") << sent("06")
    (
        scene
        << Violation(kind=ViolationKind.VERSION, reason="a SOCKS 4 client: listen on mixed:// for those")
        << nothing
    )


def test_what_may_be_ssh_or_http_waits_for_the_difference() -> None:
    scene = play()
    scene >> received("53 53 48") << nothing
    assert scene.machine.bytes_wanted() > 0
    (
        scene
        >> received("2d")
        << sent("746869732069732061 2070726f78792c206e6f7420616e20737368207365727665720d0a")
    )
    scene << Violation(kind=ViolationKind.VERSION, reason="an ssh client") << nothing


def test_a_request_is_answered_in_its_own_dialect() -> None:
    scene = play(dialects=(DRAFT_12, GO_212))
    scene >> received("d4 00 0000 0000 00 01 00000000")
    scene << RequestReceived(request=NOOP, dialect=GO_212)
    scene.machine.authenticate()
    scene.machine.next_event()
    scene.machine.send_authenticated()
    scene << sent("d4 00 0000")


def test_the_older_dialect_is_not_spoken_unasked() -> None:
    play() >> received("d4") << sent("06")


def test_options_beyond_the_cap_are_refused_before_they_arrive() -> None:
    scene = play()
    scene >> received("06 01 5004 0050 00 01 7f") << sent("06 01 0000")
    event = scene.machine.next_event()
    assert isinstance(event, Violation)
    assert event.kind is ViolationKind.MALFORMED


def test_an_option_shorter_than_its_header_is_refused() -> None:
    scene = play()
    scene >> received("06 01 0004 0050 00 01 7f000001", "0005 0003") << sent("06 01 0000")
    assert scene.machine.state is ServerState.CLOSING


def test_an_unknown_address_type_is_told_as_such() -> None:
    scene = play()
    scene >> received("06 01 0000 0050 00 02 7f000001")
    scene << sent("06 01 0000", "06 08 0000 0000 00 01 00000000")


def test_too_much_initial_data_is_refused() -> None:
    options = (AuthenticationMethodAdvertisement(methods=(2,), initial_data_length=0),)
    request = Request(command=Command.CONNECT, host="127.0.0.1", port=80, options=options)
    encoded = bytearray(request.encode())
    encoded[16:18] = b"\x40\x01"
    scene = play()
    scene >> received(encoded.hex()) << sent("06 01 0000")
    assert scene.machine.state is ServerState.CLOSING


def test_a_slow_client_gets_no_answer() -> None:
    scene = play()
    scene >> received("06 00 0000")
    assert scene.machine.next_timeout() == 10.0
    scene >> Elapsed(9.9) << nothing
    scene >> Elapsed(10.0)
    scene << Violation(kind=ViolationKind.DEADLINE, reason="the request was not complete in time") << nothing


def test_the_deadline_is_only_for_the_request() -> None:
    scene = play()
    scene >> received("06 00 0000 0000 00 01 00000000")
    assert scene.machine.next_timeout() is None
    scene >> Elapsed(99.0)
    scene << RequestReceived(request=NOOP, dialect=DRAFT_12) << nothing


def test_a_client_that_goes_away_early_ends_it() -> None:
    scene = play()
    scene >> received("06") >> eof
    scene << Ended(reason="the client closed its side") << nothing


def test_the_end_after_the_request_is_the_streams() -> None:
    scene = play()
    scene >> received("06 01 0000 0050 00 01 7f000001") >> eof
    scene << RequestReceived(request=CONNECT, dialect=DRAFT_12) << nothing


def test_a_request_in_pieces_may_be_ignored() -> None:
    scene = play(whole_request=True)
    scene >> received("06 00 0000 0000 00 01")
    scene << Violation(kind=ViolationKind.FRAGMENTED, reason="the request came in pieces") << nothing


def test_a_whole_request_passes_where_pieces_are_ignored() -> None:
    scene = play(whole_request=True)
    scene >> received("06 00 0000 0000 00 01 00000000")
    scene << RequestReceived(request=NOOP, dialect=DRAFT_12)


@pytest.mark.parametrize("hostile", ["05", "06 01 5004 0050 00 01 7f", "06 01 0000 0050 00 02 7f"])
def test_a_quiet_server_answers_no_fault(hostile: str) -> None:
    scene = play(quiet=True)
    scene >> received(hostile)
    assert isinstance(scene.machine.next_event(), Violation)
    scene << nothing


def test_a_quiet_server_answers_no_refusal() -> None:
    scene = play(quiet=True, authentication_required=True, methods={2: UsernamePasswordServer})
    scene >> received("06 00 0000 0000 00 01 00000000")
    scene.machine.next_event()
    scene.machine.authenticate()
    assert scene.machine.data_to_send() == b""
    assert scene.machine.state is ServerState.CLOSING


def test_a_quiet_server_answers_a_refusal_of_a_client_that_it_knows() -> None:
    scene = play(quiet=True, authentication_required=True, methods={2: UsernamePasswordServer})
    scene >> received("06 00 0000 0000 00 01 00000000")
    scene.machine.next_event()
    scene.machine.accept_session()
    scene.machine.next_event()
    scene.machine.refuse(reason="the token is spent")
    scene << sent("06 01 0000")


def test_a_quiet_server_answers_a_client_that_is_known_though_it_is_refused() -> None:
    scene = play(quiet=True, authentication_required=True, methods={2: UsernamePasswordServer})
    scene >> received("06 00 0000 0000 00 01 00000000")
    scene.machine.next_event()
    scene.machine.authenticate(known=True)
    scene << sent("06 01 0000")


def test_authentication_before_a_request_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        play().machine.authenticate()


def test_an_empty_read_changes_nothing() -> None:
    play() >> received("") << nothing


def test_a_banned_method_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="banned"):
        play(methods={6: UsernamePasswordServer})
