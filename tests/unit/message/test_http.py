"""What a proxy reads and writes in HTTP heads."""

import base64
from http import HTTPStatus

import pytest

from socks6.errors import DecodeError
from socks6.message.codes import ReplyCode
from socks6.message.http import (
    AbsoluteTarget,
    BadRequest,
    Failure,
    ResponseHead,
    authority,
    challenges,
    decode_absolute,
    decode_authority,
    decode_basic,
    decode_response,
    encode_basic,
    encode_request,
    end_to_end,
    failure_for,
    failure_words,
    find_field,
    list_items,
    mended_head,
    percent_encoded,
    proxy_status,
    read_plain_connect,
    reply_code_for,
    via,
    wanted_upgrades,
)


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        (b"a.example:443", "a.example", 443),
        (b"A.Example.:443", "a.example.", 443),
        (b"192.0.2.1:1", "192.0.2.1", 1),
        (b"[2001:DB8::1]:65535", "2001:db8::1", 65535),
        (b"[::ffff:192.0.2.1]:80", "::ffff:192.0.2.1", 80),
    ],
)
def test_authorities(target: bytes, host: str, port: int) -> None:
    assert decode_authority(target) == (host, port)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"a.example", "port"),
        (b"a.example:", "port"),
        (b"a.example:0", "port"),
        (b"a.example:65536", "port"),
        (b"a.example:123456", "host and port"),
        (b"a.example:+1", "host and port"),
        (b":80", "host and port"),
        (b"2001:db8::1:80", "host and port"),
        (b"[2001:db8::1", "host and port"),
        (b"[fe80::1%25eth0]:80", "host and port"),
        (b"user@a.example:80", "host and port"),
        (b"http://a.example:80", "host and port"),
        (b"a.example:80/", "host and port"),
        (b"[12:34]:80", "possible host"),
        (b"a..example:80", "possible host"),
        (b"127.1:80", "possible host"),
        (b"\xc3\xa4.example:80", "possible host"),
    ],
)
def test_what_is_no_authority(target: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as caught:
        decode_authority(target)
    assert caught.value.status == HTTPStatus.BAD_REQUEST
    assert isinstance(caught.value, DecodeError)


@pytest.mark.parametrize(
    ("target", "host", "port", "path", "authority"),
    [
        (b"http://a.example/", "a.example", 80, b"/", b"a.example"),
        (b"http://a.example", "a.example", 80, b"", b"a.example"),
        (b"HTTP://A.example:80/x?y#z", "a.example", 80, b"/x?y", b"a.example"),
        (b"http://a.example:/x", "a.example", 80, b"/x", b"a.example"),
        (b"http://a.example:8080?q=/@:", "a.example", 8080, b"?q=/@:", b"a.example:8080"),
        (b"http://[::1]:8080//x", "::1", 8080, b"//x", b"[::1]:8080"),
        (b"http://[::1]/a?b?c", "::1", 80, b"/a?b?c", b"[::1]"),
        (b"http://user:secret@a.example/", "a.example", 80, b"/", b"a.example"),
        (b"http://user:se@cret@[::1]:8080/@", "::1", 8080, b"/@", b"[::1]:8080"),
    ],
)
def test_absolute_targets(target: bytes, host: str, port: int, path: bytes, authority: bytes) -> None:
    decoded = decode_absolute(target)
    assert decoded == AbsoluteTarget(host=host, port=port, path=path)
    assert decoded.authority == authority


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/", 400),
        (b"*", 400),
        (b"a.example:80", 400),
        (b"http:/a.example/", 400),
        (b"http:///x", 400),
        (b"http://user:secret@/", 400),
        (b"http://a.example:99999/", 400),
        (b"https://a.example/", 501),
        (b"ws://a.example/", 501),
        (b"ftp://a.example/", 501),
        (b"http://a.example/" + b"x" * 16384, 414),
    ],
)
def test_what_is_not_forwarded(target: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_absolute(target)
    assert caught.value.status == status
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "method", "origin_form"),
    [
        (b"/x?y", b"GET", b"/x?y"),
        (b"", b"GET", b"/"),
        (b"?q", b"GET", b"/?q"),
        (b"", b"OPTIONS", b"*"),
        (b"/", b"OPTIONS", b"/"),
        (b"?q", b"OPTIONS", b"/?q"),
    ],
)
def test_targets_as_their_origin_gets_them(path: bytes, method: bytes, origin_form: bytes) -> None:
    assert AbsoluteTarget(host="a", port=80, path=path).origin_form(method) == origin_form


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("value", "credentials"),
    [
        (basic(b"me:pass"), (b"me", b"pass")),
        (basic(b"me:pa:ss"), (b"me", b"pa:ss")),
        (basic(b":"), (b"", b"")),
        (basic(b"\xff:\x00"), (b"\xff", b"\x00")),
        (b"bAsIc  " + base64.b64encode(b"me:1") + b" ", (b"me", b"1")),
        (basic(b"me"), None),
        (b"Bearer " + base64.b64encode(b"me:1"), None),
        (b"Basic", None),
        (b"Basic me:pass", None),
        (b"Basic bWU6MQ", None),
        (b"", None),
    ],
)
def test_basic_credentials(value: bytes, credentials: tuple[bytes, bytes] | None) -> None:
    assert decode_basic(value) == credentials


def test_fields_are_found_whatever_their_case() -> None:
    fields = ((b"X-One", b"1"), (b"HOST", b"a"), (b"host", b"b"))
    assert find_field(fields, b"host") == b"a"
    assert find_field(fields, b"x-two") is None


def test_lists_may_be_spread_over_lines() -> None:
    fields = ((b"Connection", b" close, ,x"), (b"connection", b"TE"))
    assert list_items(fields, b"connection") == (b"close", b"x", b"TE")


def test_only_end_to_end_fields_are_forwarded() -> None:
    fields = (
        (b"Host", b"a"),
        (b"Connection", b"close, X-Hop, keep-alive"),
        (b"x-hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Proxy-Authorization", b"Basic eDp5"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Proxy-Authentication-Info", b"x"),
        (b"Proxy", b"http://evil.example"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X-Sum"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"websocket"),
        (b"Cookie", b"a=b"),
    )
    assert end_to_end(fields) == ((b"Host", b"a"), (b"Cookie", b"a=b"))


def test_connection_cannot_name_the_length_away() -> None:
    fields = ((b"Connection", b"Content-Length"), (b"Content-Length", b"5"))
    assert end_to_end(fields) == ((b"Content-Length", b"5"),)


def test_proxy_status_of_others_is_end_to_end() -> None:
    fields = ((b"Proxy-Status", b"cdn; error=dns_error"),)
    assert end_to_end(fields) == fields


def test_who_we_are() -> None:
    assert via(b"1.0") == (b"Via", b"1.0 socks6")
    assert proxy_status("dns_error") == (b"Proxy-Status", b"socks6; error=dns_error")


def test_proxy_status_has_details_as_a_string_of_structured_fields() -> None:
    _, value = proxy_status("dns_error", 'a "name" \\ of\r\nmöbel' + "x" * 1000)
    assert value.startswith(b'socks6; error=dns_error; details="a \\"name\\" \\\\ of??m?bel' + b"x" * 100)
    assert len(value) < 400


@pytest.mark.parametrize(
    ("connection", "upgrade", "wanted"),
    [
        (b"Upgrade", b"websocket", b"websocket"),
        (b"keep-alive, upgrade", b"a/1, h2c , b", b"a/1, b"),
        (b"upgrade", b"H2C", b""),
        (b"close", b"websocket", b""),
        (b"upgrade", b"", b""),
    ],
)
def test_upgrades(connection: bytes, upgrade: bytes, wanted: bytes) -> None:
    assert wanted_upgrades(((b"Connection", connection), (b"Upgrade", upgrade))) == wanted


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (1, 502, "proxy_internal_error"),
        (2, 403, "http_request_denied"),
        (3, 502, "destination_ip_unroutable"),
        (4, 502, "destination_unavailable"),
        (5, 502, "connection_refused"),
        (6, 502, "destination_ip_unroutable"),
        (7, 502, "proxy_configuration_error"),
        (8, 502, "destination_ip_unroutable"),
        (9, 504, "connection_timeout"),
        (0x77, 502, "proxy_internal_error"),
    ],
)
def test_reply_codes_in_http_terms(code: int, status: int, error: str) -> None:
    assert failure_for(code) == Failure(HTTPStatus(status), error)


def test_every_failing_reply_code_has_its_row() -> None:
    assert all(failure_for(code) != failure_for(0x77) for code in ReplyCode if code > 1)


def test_a_websocket_is_http_where_an_upgrade_is_asked_for() -> None:
    expected = AbsoluteTarget(host="a.example", port=80, path=b"/chat")
    assert decode_absolute(b"WS://a.example/chat", upgrading=True) == expected
    assert decode_absolute(b"http://a.example/chat", upgrading=True) == expected
    with pytest.raises(BadRequest) as caught:
        decode_absolute(b"wss://a.example/chat", upgrading=True)
    assert caught.value.status == HTTPStatus.NOT_IMPLEMENTED


@pytest.mark.parametrize(
    ("line", "encoded"),
    [
        (
            b"GET http://a/caf\xc3\xa9?q=\xff\x7f HTTP/1.1\r\n",
            b"GET http://a/caf%C3%A9?q=%FF%7F HTTP/1.1\r\n",
        ),
        (b"GET http://a/%c3%a9 HTTP/1.1\n", b"GET http://a/%c3%a9 HTTP/1.1\n"),
        (b"G\xc3T http://a/ HTTP/1.1\r\n", b"G\xc3T http://a/ HTTP/1.1\r\n"),  # only in targets
        (b"GET http://a/\x01 \xe9 HTTP/1.1\r\n", b"GET http://a/\x01 %E9 HTTP/1.1\r\n"),  # still refused
        (b"GET http://a/\xe9\r\n", b"GET http://a/\xe9\r\n"),
        (b"\xff", b"\xff"),
        (b"", b""),
    ],
)
def test_targets_are_percent_encoded(line: bytes, encoded: bytes) -> None:
    assert percent_encoded(line) == encoded


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])


@pytest.mark.parametrize(
    ("lines", "mended"),
    [
        ((b"X-A: a", b"X-B:b "), (b"X-A: a", b"X-B:b ")),
        ((b"X-A \t: a",), (b"X-A: a",)),
        ((b"Content-Length : 5",), (b"Content-Length: 5",)),  # RFC 9112 §5.1 tells how it is meant
        ((b"JustText", b"a/b: c", b": x", b"", b"X: y"), (b"X: y",)),
        ((b"JustText", b" goes on", b"X: y", b" z"), (b"X: y", b" z")),
        ((b" before the first", b"X: y"), (b"X: y",)),
        ((b"X: a\x0cb\x0bc\x00d\re\x7f\x01",), (b"X: a b c d e\x7f\x01",)),
        ((b"X: y", b" z\x00"), (b"X: y", b" z ")),
    ],
)
def test_a_head_is_mended_where_that_does_no_harm(
    lines: tuple[bytes, ...], mended: tuple[bytes, ...]
) -> None:
    lines = tuple(line for line in lines if line)
    assert mended_head(head(*lines)).replace(b"\r\n", b"\n") == head(*mended).replace(b"\r\n", b"\n")


def test_what_the_status_line_says_is_mended_too() -> None:
    assert mended_head(b"HTTP/1.1 200 O\x00K\n\n") == b"HTTP/1.1 200 O K\n\n"


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length 5",
        b"Content Length: 5",
        b"Transfer-Encoding\x0b: chunked",
        b"\x00Transfer-Encoding: chunked",
        b"X Transfer-Encoding: chunked",
        b" Content-Length: 5",
    ],
)
@pytest.mark.parametrize("before", [(), (b"JustText",)])
def test_nothing_is_mended_where_it_may_be_about_the_bodys_length(
    line: bytes, before: tuple[bytes, ...]
) -> None:
    lines = (*before, line, b"X : y")
    assert mended_head(head(*lines)) == head(*lines)


@pytest.mark.parametrize("lines", [(b"Content-Length: 5\x00",), (b"Transfer-Encoding:", b" chunked\x00")])
def test_the_length_itself_is_left_as_it_is(lines: tuple[bytes, ...]) -> None:
    assert mended_head(head(*lines)).splitlines() == head(*lines).splitlines()


def test_a_request_of_ours() -> None:
    credentials = encode_basic(b"al", b"se:cret")
    assert decode_basic(credentials[1]) == (b"al", b"se:cret")
    assert (
        encode_request(
            b"CONNECT", authority("::1", 443), ((b"Host", authority("a.example", 80)), credentials)
        )
        == b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a.example:80\r\nProxy-Authorization: Basic YWw6c2U6Y3JldA==\r\n\r\n"
    )
    with pytest.raises(ValueError, match="colon"):
        encode_basic(b"a:b", b"")


def test_a_response_may_be_sloppy() -> None:
    head = decode_response(b"HTTP/1.0 200\nVia : a \nno field\n\n")
    assert head == ResponseHead(status=200, reason=b"", fields=((b"Via", b"a"),))
    for wrong in (b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"\r\n\r\n", b"HTTP/1.1 099 x\r\n\r\n"):
        with pytest.raises(DecodeError):
            decode_response(wrong)


@pytest.mark.parametrize(
    ("status", "fields", "code"),
    [
        (204, (), ReplyCode.SUCCEEDED),
        (403, (), ReplyCode.NOT_ALLOWED),
        (405, (), ReplyCode.COMMAND_NOT_SUPPORTED),
        (502, (), ReplyCode.HOST_UNREACHABLE),
        (504, (), ReplyCode.CONNECTION_TIMED_OUT),
        (500, (), ReplyCode.GENERAL_FAILURE),
        (503, ((b"X-Squid-Error", b"ERR_CONNECT_FAIL 111"),), ReplyCode.CONNECTION_REFUSED),
        (503, ((b"X-Squid-Error", b"ERR_DNS_FAIL 0"),), ReplyCode.HOST_UNREACHABLE),
        (502, ((b"Proxy-Status", b"a; error=connection_refused"),), ReplyCode.CONNECTION_REFUSED),
        (502, ((b"proxy-status", b"a;error=destination_ip_unroutable"),), ReplyCode.NETWORK_UNREACHABLE),
        (502, ((b"proxy-status", b"a; error=something_new"),), ReplyCode.HOST_UNREACHABLE),
    ],
)
def test_answers_to_connect(status: int, fields: tuple[tuple[bytes, bytes], ...], code: ReplyCode) -> None:
    assert reply_code_for(ResponseHead(status=status, reason=b"", fields=fields)) == code


@pytest.mark.parametrize("code", [code for code in ReplyCode if code not in {0, 1, 6, 7, 8}])
def test_what_our_own_proxy_answers_is_understood(code: ReplyCode) -> None:
    failure = failure_for(code)
    head = ResponseHead(status=failure.status, reason=b"", fields=(proxy_status(failure.error),))
    assert reply_code_for(head) == code


def test_what_a_proxy_says_of_a_failure_is_short_and_printable() -> None:
    head = ResponseHead(status=502, reason=b"Bad\x1b[", fields=((b"Proxy-Status", b"a; error=dns_error"),))
    assert failure_words(head) == "502 Bad?[ (a; error=dns_error)"
    assert failure_words(ResponseHead(status=500, reason=b"", fields=())) == "500"
    assert len(failure_words(ResponseHead(status=500, reason=b"x" * 9999, fields=()))) == 300


def test_how_a_proxy_lets_clients_authenticate() -> None:
    fields = (
        (b"Proxy-Authenticate", b"Digest a=b, c=d"),
        (b"proxy-authenticate", b"BASIC realm=x"),
        (b"Via", b"x"),
    )
    assert challenges((*fields, (b"Proxy-Authenticate", b'"'), fields[0])) == ("digest", "basic")


HEAD = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nUser-Agent: x (y; z)\r\nproxy-connection: Keep-Alive\r\n\r\n"


def test_a_connect_without_meaningful_fields_is_plain() -> None:
    assert read_plain_connect(HEAD + b"first data", names=True) == ("a.example", 443, len(HEAD))
    assert read_plain_connect(HEAD) is None
    for host, found in ((b"192.0.2.1", "192.0.2.1"), (b"[2001:db8::1]", "2001:db8::1")):
        head = HEAD.replace(b"a.example", host)
        assert read_plain_connect(head) == (found, 443, len(head))
    for size in range(len(HEAD)):
        assert read_plain_connect(HEAD[:size], names=True) is None


@pytest.mark.parametrize(
    ("plain", "other"),
    [
        (b"User-Agent", b"Proxy-Authorization"),
        (b"User-Agent", b"Transfer-Encoding"),
        (b"User-Agent", b"Content-Length"),
        (b"User-Agent", b"Expect"),
        (b"User-Agent: x", b"Host: x"),
        (b"User-Agent: x (y; z)", b"Connection: close"),
        (b"(y", b"\x00"),
        (b"\r\nUser-Agent", b"\r\n User-Agent"),
        (b"\r\nUser-Agent", b"\nUser-Agent"),
        (b"User-Agent: x (y; z)", b"User-Agent: " + b"x" * 8192),
        (b"Host: a.example:443\r\n", b""),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"CONNECT", b"connect"),
        (b"a.example:443 ", b"a.example:0 "),
        (b"a.example:443 ", b"a.example "),
        (b"a.example:443 ", b"a..example:443 "),
    ],
)
def test_others_are_for_the_conversation(plain: bytes, other: bytes) -> None:
    assert read_plain_connect(HEAD.replace(plain, other, 1), names=True) is None
