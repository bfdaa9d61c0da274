"""What a ClientHello offers, whatever its bytes."""

import functools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks6.net.transports.tls import offered_protocols


@functools.cache
def hello(*protocols: str, name: str = "proxy.example") -> bytes:
    """Return what OpenSSL begins with."""
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "protocols", [(), ("socks6",), ("h2", "http/1.1"), tuple(f"p{i}" for i in range(40))]
)
def test_what_openssl_offers_is_read(protocols: tuple[str, ...]) -> None:
    assert offered_protocols(hello(*protocols)) == protocols


def test_a_hello_in_many_records_is_one() -> None:
    whole = hello("h2", "socks6")
    message = whole[5:]
    cut = b"".join(
        whole[:3] + len(piece).to_bytes(2, "big") + piece
        for piece in (message[start : start + 50] for start in range(0, len(message), 50))
    )
    assert offered_protocols(cut) == ("h2", "socks6")


def test_what_is_cut_short_offers_nothing_or_what_is_whole() -> None:
    whole = hello("h2")
    assert {offered_protocols(whole[:end]) for end in range(len(whole))} == {()}


def test_names_that_are_no_ascii_are_shown_escaped() -> None:
    whole = bytearray(hello("h2"))
    at = whole.index(b"\x02h2")
    whole[at + 1 : at + 3] = b"\xff\n"
    assert offered_protocols(whole) == ("\\xff\n",)


@given(st.binary(max_size=400))
def test_bad_bytes_offer_nothing(data: bytes) -> None:
    assert isinstance(offered_protocols(data), tuple)


@given(st.data())
def test_changed_bytes_raise_nothing(data: st.DataObject) -> None:
    whole = bytearray(hello("h2", "socks6"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(offered_protocols(whole), tuple)
