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
    decode_absolute,
    decode_authority,
    decode_basic,
    end_to_end,
    failure_for,
    find_field,
    list_items,
    proxy_status,
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
        (b"http://user:secret@a.example/", 400),
        (b"http://a.example:99999/", 400),
        (b"https://a.example/", 501),
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
