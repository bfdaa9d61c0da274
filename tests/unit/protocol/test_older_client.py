"""The client's side of SOCKS 4, 4a and 5, and of HTTP CONNECT."""

import pytest

from socks6.message.codes import AuthenticationType, Command, ReplyCode
from socks6.message.replies import AuthenticationReply, OperationReply
from socks6.message.requests import Request
from socks6.message.userpass import UsernamePassword
from socks6.protocol.events import (
    AuthenticationRefused,
    Ended,
    MessagesIgnored,
    OperationAnswered,
    PeerConnected,
    Violation,
    ViolationKind,
)
from socks6.protocol.older_client import (
    CLOSED,
    MAX_HEAD_SIZE,
    HttpClientConversation,
    OlderState,
    Socks4ClientConversation,
    Socks5ClientConversation,
)
from tests.kit.playbook import Playbook, eof, nothing, received, sent, unread

CONNECT = Request(command=Command.CONNECT, host="a.example", port=80)
LITERAL = Request(command=Command.CONNECT, host="192.0.2.1", port=80)
NOOP = Request(command=Command.NOOP, host="0.0.0.0", port=0)
ALICE = UsernamePassword(username=b"me", password=b"123")

BOUND = OperationReply(code=ReplyCode.SUCCEEDED, host="192.0.2.9", port=4000)
SUCCESS5 = "05 00 00 01 c0000209 0fa0"
REFUSAL = AuthenticationReply(type=AuthenticationType.FAILED)


def socks5(
    request: Request = CONNECT, credentials: UsernamePassword | None = None
) -> Playbook[Socks5ClientConversation]:
    return Playbook(Socks5ClientConversation(request, credentials=credentials))


def http(
    request: Request = CONNECT, credentials: UsernamePassword | None = None
) -> Playbook[HttpClientConversation]:
    return Playbook(HttpClientConversation(request, credentials=credentials))


def text(words: str) -> str:
    return words.replace("\n", "\r\n").encode().hex()


def refused(reason: str) -> AuthenticationRefused:
    return AuthenticationRefused(reply=REFUSAL, reason=reason)


def test_socks5_without_authentication() -> None:
    play = socks5()
    play << sent("05 01 00") << nothing
    play >> received("05 00")
    play << sent("05 01 00 03 09 612e6578616d706c65 0050") << nothing
    assert play.machine.has_answered
    play >> received(SUCCESS5, "6869")
    play << OperationAnswered(reply=BOUND) << unread(b"hi")
    assert play.machine.state is OlderState.STREAMING
    assert play.machine.bytes_wanted() == 0
    play >> eof
    play << nothing  # the stream's own


def test_socks5_with_a_password() -> None:
    play = socks5(credentials=ALICE)
    play << sent("05 02 00 02") << nothing
    play >> received("05 02")
    play << sent("01 02 6d65 03 313233") << nothing
    play >> received("01 00")
    play << sent("05 01 00 03 09 612e6578616d706c65 0050") << nothing


def test_a_password_that_the_proxy_does_not_want_is_not_sent() -> None:
    play = socks5(LITERAL, ALICE)
    play << sent("05 02 00 02")
    play >> received("05 00")
    play << sent("05 01 00 01 c0000201 0050") << nothing


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (("05 ff",), "it accepts none of our methods"),
        (("05 01",), "it wants method 1, which was not offered"),
        (("05 02", "01 01"), "status 1"),
    ],
)
def test_socks5_refusals(answers: tuple[str, ...], reason: str) -> None:
    play = socks5(credentials=ALICE)
    for answer in answers:
        play << sent(*(["05 02 00 02"] if answer is answers[0] else ["01 02 6d65 03 313233"])) << nothing
        play >> received(answer)
    play << refused(reason) << nothing
    assert play.machine.state is OlderState.CLOSED


def test_the_password_method_is_not_taken_where_it_was_not_offered() -> None:
    play = socks5()
    play << sent("05 01 00")
    play >> received("05 02")
    play << refused("it wants method 2, which was not offered")


def test_a_failure_is_a_reply_whatever_follows_it() -> None:
    play = socks5()
    play << sent("05 01 00")
    play >> received("05 00", "05 05 00 00")
    play << OperationAnswered(reply=OperationReply(code=ReplyCode.CONNECTION_REFUSED))
    assert play.machine.state is OlderState.CLOSED


def test_socks5_bind_has_two_replies() -> None:
    play = socks5(Request(command=Command.BIND, host="0.0.0.0", port=0))
    play << sent("05 01 00")
    play >> received("05 00", SUCCESS5)
    play << OperationAnswered(reply=BOUND) << sent("05 02 00 01 00000000 0000") << nothing
    assert play.machine.state is OlderState.AWAITING_PEER
    play >> received(SUCCESS5, "6869")
    play << PeerConnected(reply=BOUND) << unread(b"hi")


def test_a_bind_may_come_to_nothing() -> None:
    play = socks5(Request(command=Command.BIND, host="0.0.0.0", port=0))
    play << sent("05 01 00")
    play >> received("05 00", SUCCESS5, "05 04 00 01 00000000 0000")
    (
        play
        << OperationAnswered(reply=BOUND)
        << PeerConnected(reply=OperationReply(code=ReplyCode.HOST_UNREACHABLE))
    )
    assert play.machine.state is OlderState.CLOSED


def test_an_associations_stream_says_nothing_but_its_end() -> None:
    play = socks5(Request(command=Command.UDP_ASSOCIATE, host="0.0.0.0", port=0))
    play << sent("05 01 00")
    play >> received("05 00", SUCCESS5)
    play << OperationAnswered(reply=BOUND) << sent("05 03 00 01 00000000 0000") << nothing
    assert play.machine.bytes_wanted() == 1
    play >> received("00")
    play << MessagesIgnored() << nothing
    play >> eof
    play << Ended(reason="the proxy closed the connection (associated)") << nothing


def test_a_noop_ends_with_authentication() -> None:
    play = socks5(NOOP)
    play << sent("05 01 00")
    play >> received("05 00")
    play << OperationAnswered(reply=OperationReply(code=0)) << nothing
    assert play.machine.bytes_wanted() == 0


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ("06 00", ViolationKind.VERSION, "that is no SOCKS 5 proxy: it speaks SOCKS 6"),
        ("05 00 05 00 00 07", ViolationKind.MALFORMED, "awaiting reply: unknown address type 7"),
        (
            text("HTTP/1.1 400 Bad\n"),
            ViolationKind.VERSION,
            'that is no SOCKS 5 proxy: it says "HTTP/1.1 400 Bad"',
        ),
    ],
)
def test_what_is_no_socks5(answer: str, kind: ViolationKind, reason: str) -> None:
    play = socks5()
    play << sent("05 01 00")
    play >> received(answer)
    play << Violation(kind=kind, reason=reason)
    assert play.machine.state is OlderState.CLOSED


def test_a_bad_verdict_is_malformed() -> None:
    play = socks5(credentials=ALICE)
    play << sent("05 02 00 02")
    play >> received("05 02", "05 00")
    play << Violation(
        kind=ViolationKind.MALFORMED,
        reason="awaiting authentication reply: username/password version 5, not 1",
    )


def test_a_line_of_another_protocol_is_waited_for() -> None:
    play = socks5()
    play << sent("05 01 00")
    play >> received(text("HTTP"))
    play << nothing
    assert play.machine.bytes_wanted() == 76
    play >> eof
    play << Violation(kind=ViolationKind.VERSION, reason='that is no SOCKS 5 proxy: it says "HTTP"')


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("", "the proxy closed the connection without an answer"),
        ("05", "the proxy closed the connection (awaiting method selection)"),
        ("05 00 05 00", "the proxy closed the connection (awaiting reply)"),
    ],
)
def test_an_early_end(before: str, reason: str) -> None:
    play = socks5()
    play << sent("05 01 00")
    play >> received(before) >> eof
    play << Ended(reason=reason)


def test_a_proxy_may_close_instead_of_a_reply() -> None:
    play = socks5()
    play << sent("05 01 00")
    play >> received("05 00") >> eof
    play << OperationAnswered(reply=OperationReply(code=ReplyCode.GENERAL_FAILURE), words=CLOSED)
    assert play.machine.state is OlderState.CLOSED


def test_socks4a_sends_the_name_and_socks4_the_address() -> None:
    play = Playbook(Socks4ClientConversation(CONNECT, user=b"me"))
    play << sent("04 01 0050 00000001 6d65 00 612e6578616d706c65 00") << nothing
    assert play.machine.bytes_wanted() == 8
    play >> received("00 5a 0fa0 c0000209", "6869")
    play << OperationAnswered(reply=BOUND) << unread(b"hi")
    play = Playbook(Socks4ClientConversation(LITERAL))
    play << sent("04 01 0050 c0000201 00") << nothing


def test_socks4_failures() -> None:
    for answer, event in (
        (
            "00 5b 0000 00000000",
            OperationAnswered(reply=OperationReply(code=1), words="91, rejected or failed"),
        ),
        ("00 5d 0000 00000000", refused("code 93, which is about the user id")),
        (
            "07",
            Violation(kind=ViolationKind.VERSION, reason="that is no SOCKS 4 proxy: its first byte is 0x07"),
        ),
    ):
        play = Playbook(Socks4ClientConversation(LITERAL))
        play << sent("04 01 0050 c0000201 00")
        play >> received(answer)
        play << event << nothing


def test_a_noop_of_socks4_says_nothing() -> None:
    play = Playbook(Socks4ClientConversation(NOOP))
    play << OperationAnswered(reply=OperationReply(code=0)) << nothing


def test_socks4_has_no_ipv6() -> None:
    with pytest.raises(ValueError, match="IPv6"):
        Socks4ClientConversation(Request(command=Command.CONNECT, host="::1", port=80))


def test_http_connect() -> None:
    play = http(credentials=ALICE)
    play << sent(
        text("CONNECT a.example:80 HTTP/1.1\nHost: a.example:80\nProxy-Authorization: Basic bWU6MTIz\n\n")
    )
    play >> received(
        text("HTTP/1.1 103 Early Hints\nLink: x\n\n"), text("HTTP/1.0 200 Fine\nVia: a\n\n"), "6869"
    )
    play << OperationAnswered(reply=OperationReply(code=0)) << unread(b"hi")
    assert play.machine.state is OlderState.STREAMING


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        ("HTTP/1.1 407 No\n\n", refused("407 No")),
        ("HTTP/1.1 401 No\n\n", refused("401 No")),
        (
            "HTTP/1.1 502 Bad Gateway\nProxy-Status: a; error=connection_refused\n\n",
            OperationAnswered(
                reply=OperationReply(code=5), words="502 Bad Gateway (a; error=connection_refused)"
            ),
        ),
        ("HTTP/1.1 403\n\n", OperationAnswered(reply=OperationReply(code=2), words="403")),
        (
            "HTTP/1.1 101 Switching\n\n",
            Violation(
                kind=ViolationKind.MALFORMED,
                reason="the proxy switches to a protocol that was not asked for",
            ),
        ),
        (
            "HTTP/1.1 abc\n\n",
            Violation(kind=ViolationKind.MALFORMED, reason="awaiting reply: no status line of HTTP/1"),
        ),
        (
            "SSH-2.0-x\n",
            Violation(kind=ViolationKind.VERSION, reason='that is no HTTP proxy: it says "SSH-2.0-x"'),
        ),
    ],
)
def test_http_failures(answer: str, event: object) -> None:
    play = http(LITERAL)
    play << sent(text("CONNECT 192.0.2.1:80 HTTP/1.1\nHost: 192.0.2.1:80\n\n")) << nothing
    play >> received(text(answer))
    play << event << nothing


@pytest.mark.parametrize(
    ("challenge", "credentials", "judged", "reason"),
    [
        ("Proxy-Authenticate: Basic realm=x\n", ALICE, True, "407 No"),
        ("", ALICE, True, "407 No"),
        ("Proxy-Authenticate: Negotiate\nProxy-Authenticate: NTLM\n", ALICE, False, "407 No: it wants negotiate or ntlm"),
        ("Proxy-Authenticate: Digest a=b\nProxy-Authenticate: Basic\n", None, False, "407 No"),
        ("Proxy-Authenticate: ?\n", ALICE, True, "407 No"),
    ],
)  # fmt: skip
def test_whether_a_proxy_looked_at_the_credentials(
    challenge: str, credentials: UsernamePassword | None, judged: bool, reason: str
) -> None:
    play = http(LITERAL, credentials)
    play.machine.data_to_send()
    play >> received(text(f"HTTP/1.1 407 No\n{challenge}\n"))
    play << refused(reason)
    assert play.machine.were_judged is judged


def test_an_http_noop_asks_for_options() -> None:
    play = http(NOOP)
    play << sent(text("OPTIONS http://0.0.0.0:1/ HTTP/1.1\nHost: 0.0.0.0:1\n\n"))
    play >> received(text("HTTP/1.1 400 Bad\n\n"))
    play << OperationAnswered(reply=OperationReply(code=0)) << nothing


def test_a_head_is_bounded() -> None:
    play = http()
    play.machine.data_to_send()
    play.machine.receive_data(b"HTTP/1.1 200 " + bytes(MAX_HEAD_SIZE), 0.0)
    play << Violation(
        kind=ViolationKind.MALFORMED, reason=f"awaiting reply: a head of more than {MAX_HEAD_SIZE} bytes"
    )


def test_never_more_than_the_head_is_wanted() -> None:
    machine = HttpClientConversation(CONNECT)
    head = b"HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\n"
    taken = 0
    while wanted := machine.bytes_wanted():
        taken += wanted
        machine.receive_data(head[taken - wanted : taken], 0.0)
    assert taken == len(head)


@pytest.mark.parametrize("cut", range(20))
def test_looking_ahead_shows_where_the_head_ends(cut: int) -> None:
    machine = HttpClientConversation(CONNECT)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    machine.receive_data(head[:cut], 0.0)
    if ahead := head[cut:]:
        assert machine.size_within(ahead + b"more\r\n\r\n") == len(ahead)
        assert machine.size_within(ahead[:1]) == 1
