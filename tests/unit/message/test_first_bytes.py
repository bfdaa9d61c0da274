"""Who speaks what, by the first bytes: every protocol, from both sides."""

import pytest

from socks6.message.first_bytes import (
    MAX_LINE,
    PROTOCOLS,
    client_of,
    describe_client,
    describe_server,
    is_ambiguous,
    is_line_pending,
    not_tls,
    refusal_for,
    server_of,
)
from socks6.message.socks4 import Socks4Reply, Socks4Result
from socks6.message.socks5 import Socks5MethodSelection

CLIENTS = {
    "SOCKS 4": b"\4\1\0\x50",
    "SOCKS 5": b"\5\1\0",
    "SOCKS 6": b"\6\1\0\0",
    "SOCKS 6 (dialect 212)": b"\xd4\1",
    "TLS": b"\x16\3\1",
    "ssh": b"SSH-2.0-x",
    "HTTP": b"GET / HTTP/1.1",
}
SERVERS = {
    "SOCKS 4": b"\0\x5b",
    "SOCKS 5": b"\5\xff",
    "SOCKS 6": b"\6",
    "SOCKS 6 (dialect 212)": b"\xd4\0",
    "TLS": b"\x15\3\1",
    "ssh": b"SSH-2.0-x",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n",
    "mail or FTP": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize(("name", "data"), CLIENTS.items())
def test_clients_are_known_by_their_first_bytes(name: str, data: bytes) -> None:
    known = client_of(data)
    assert known is not None
    assert known.name == name


@pytest.mark.parametrize(("name", "data"), SERVERS.items())
def test_servers_are_known_by_their_first_bytes(name: str, data: bytes) -> None:
    known = server_of(data)
    assert known is not None
    assert known.name == name


def test_the_table_is_whole() -> None:
    assert {protocol.name for protocol in PROTOCOLS} == CLIENTS.keys() | SERVERS.keys()
    assert client_of(b"\7") is None
    assert server_of(b"\7") is None


def test_what_may_be_ssh_is_not_yet_http() -> None:
    assert [is_ambiguous(data) for data in (b"S", b"SSH", b"SSH-", b"SE", b"\5")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "inbound", "words"),
    [
        (b"\5", "socks6", "a SOCKS 5 client: listen on mixed:// for those"),
        (b"\x16", "mixed", "a TLS client: listen on mixed+tls:// for those"),
        (b"SSH-", "socks6", "an ssh client"),
        (b"GET", "socks5", "an HTTP client: listen on mixed:// for those"),
        (b"\7", "mixed", "first byte 0x07: not SOCKS or HTTP"),
        (b"\7", "own", "first byte 0x07: not own"),
    ],
)
def test_a_client_is_named_with_what_would_serve_it(data: bytes, inbound: str, words: str) -> None:
    assert describe_client(data, inbound) == words


@pytest.mark.parametrize(
    ("data", "inbound", "answer"),
    [
        (b"\4", "socks6", b"\6"),
        (b"\5", "socks6", b"\6"),
        (b"\4", "tls", Socks4Reply(code=Socks4Result.REJECTED).encode()),
        (b"\5", "http", Socks5MethodSelection(method=0xFF).encode()),
        (b"\6", "socks5", Socks5MethodSelection(method=0xFF).encode()),
        (b"\6", "tls", bytes.fromhex("15 0301 0002 02 0a")),
        (b"\7", "socks6", b"\6"),
        (b"\7", "own", b"\6"),
    ],
)
def test_a_refusal_is_one_that_the_client_understands(data: bytes, inbound: str, answer: bytes) -> None:
    assert refusal_for(data, inbound) == answer


@pytest.mark.parametrize(
    ("data", "inbound", "sentence"),
    [
        (b"GET", "socks6", "this port speaks SOCKS 6, not HTTP"),
        (b"CONNECT", "tls", "this port speaks TLS, not HTTP"),
        (b"\6", "http", "this port speaks HTTP and nothing else"),
    ],
)
def test_http_says_it_in_a_sentence(data: bytes, inbound: str, sentence: str) -> None:
    head, _, body = refusal_for(data, inbound).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert f'details="{sentence}"' in head
    assert f"Content-Length: {len(body)}\r\n" in head
    assert body == f"{sentence}\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\5\xff", "that is no SOCKS 6 proxy: it speaks SOCKS 5"),
        (b"\x15\3\1", "that is no SOCKS 6 proxy in the clear: it speaks TLS, so try socks6+tls://"),
        (b"\xfe", "that is no SOCKS 6 proxy: its first byte is 0xfe"),
        (b"SSH-2.0-O\x1b\xff\r\nrest", 'that is no SOCKS 6 proxy: it says "SSH-2.0-O??"'),
        (b"x" * 200, f'that is no SOCKS 6 proxy: it says "{"x" * MAX_LINE}"'),
    ],
)
def test_a_server_is_named_or_quoted(data: bytes, words: str) -> None:
    assert describe_server(data) == words


def test_a_server_is_measured_by_the_scheme_of_its_url() -> None:
    assert describe_server(b"HTTP/1.1 400", "socks5") == 'that is no SOCKS 5 proxy: it says "HTTP/1.1 400"'
    assert describe_server(b"\5\xff", "http") == "that is no HTTP proxy: it speaks SOCKS 5"
    assert describe_server(b"\x15\3\1", "http").endswith("it speaks TLS, so try https://")
    assert describe_server(b"\x15\3\1", "socks4").endswith("it speaks TLS, so try socks4+tls://")


def test_a_line_of_text_is_waited_for_within_bounds() -> None:
    pending = [is_line_pending(data) for data in (b"", b"S", b"220 x\r\n", b"\5", b"x" * MAX_LINE)]
    assert pending == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("data", "from_client", "words"),
    [
        (b"\x16\3", True, ""),
        (b"\x15\3", False, ""),
        (b"\x15\3", True, "the peer speaks no TLS (its first byte is 0x15)"),
        (b"GET", True, "the peer speaks HTTP, not TLS"),
        (b"HTTP/1.1", False, "the peer speaks HTTP, not TLS"),
        (b"\5\xff", False, "the peer speaks SOCKS 5, not TLS"),
    ],
)
def test_what_is_not_tls_is_named(data: bytes, from_client: bool, words: str) -> None:
    assert not_tls(data, from_client=from_client) == words
