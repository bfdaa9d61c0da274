"""The client's leg of the HTTP proxy: pages of the proxy's own."""

import pytest

from socks6.message.http import NO_PAGE, Page
from socks6.protocol.http import PageRequested
from tests.kit.http import fed, refusal, request

PAGE = Page(b"text/plain", b"hello\n", ((b"X-Field", b"1"),))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nX-Field: 1\r\nConnection: close\r\n\r\n"


def asked(target: str, *fields: bytes, host: bytes = b"127.0.0.1:1080") -> object:
    """Return the event that a request for a page is."""
    lines = (b"GET %s HTTP/1.1" % target.encode(), b"Host: " + host, *fields, b"", b"")
    return fed(b"\r\n".join(lines)).next_event()


@pytest.mark.parametrize(
    ("host", "known"),
    [
        (b"127.0.0.1:1080", "127.0.0.1"),
        (b"[::1]", "::1"),
        (b"LOCALHOST", "localhost"),
        (b"evil.example:1080", "evil.example"),
        (b"", ""),
        (b"a b", ""),
        (b"127.0.0.1:99999", ""),
    ],
)
def test_the_host_that_the_client_names(host: bytes, known: str) -> None:
    assert asked("/", host=host) == PageRequested(path="/", host=known, wants_json=False)


@pytest.mark.parametrize(
    ("target", "fields", "wants_json"),
    [
        ("/", (), False),
        ("/?format=json", (), True),
        ("/?a&format=json", (), True),
        ("/?format=jsonp", (), False),
        ("/", (b"Accept: application/json",), True),
        ("/", (b"Accept: text/html, application/json;q=0.5",), False),
        ("/", (b"Accept: */*",), False),
    ],
)
def test_programs_ask_for_json(target: str, fields: tuple[bytes, ...], wants_json: bool) -> None:
    assert asked(target, *fields) == PageRequested(path="/", host="127.0.0.1", wants_json=wants_json)


@pytest.mark.parametrize(("method", "answer"), [(b"GET", HEAD + b"hello\n"), (b"HEAD", HEAD)])
def test_a_page_ends_the_connection(method: bytes, answer: bytes) -> None:
    machine = fed(request(method + b" / HTTP/1.1") * 2)
    assert isinstance(machine.next_event(), PageRequested)
    machine.send_page(PAGE)
    assert machine.data_to_send() == answer
    assert machine.next_event() is None
    assert machine.bytes_wanted() == 0


def test_who_gets_no_page_is_told_what_this_is() -> None:
    machine = fed(request(b"GET /x HTTP/1.1"))
    assert isinstance(machine.next_event(), PageRequested)
    assert machine.refuse_page().reason == NO_PAGE
    assert refusal(machine) == ("400 Bad Request", True)
