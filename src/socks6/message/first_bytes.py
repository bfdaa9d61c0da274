"""Which protocol the other side speaks, by its first bytes: one table, which listeners and clients share.

A listener names clients that speak something else, and answers them in their own protocol; a client names what is no SOCKS 6
proxy.
"""

import string
from collections.abc import Mapping
from typing import Final, NamedTuple

from socks6.message.replies import VERSION_MISMATCH

OTHER_VERSIONS: Final = b"\4\5"  # of SOCKS
MAX_LINE: Final = 80  # bytes of a server's first line that are waited for, and quoted
SOCKS4_REFUSAL: Final = bytes.fromhex("00 5b 0000 00000000")  # "request rejected or failed"
SOCKS5_REFUSAL: Final = b"\5\xff"  # RFC 1928, section 3: no acceptable methods
# RFC 8446 §6: a fatal alert, unexpected_message. To close without one looks like a broken connection to TLS clients.
TLS_REFUSAL: Final = bytes.fromhex("15 0301 0002 02 0a")


class KnownProtocol(NamedTuple):
    """One protocol, with how its two sides begin."""

    name: str
    first_bytes: bytes = b""  # each is one that its clients may begin with
    prefix: bytes = b""  # or all of them begin with this
    answers: tuple[bytes, ...] = ()  # what its servers begin with, whatever they are sent
    refusal: bytes = b""  # what its clients understand; b"" for the answer of the listener's own protocol
    inbound: str = "socks6"  # which inbound of a mixed listener serves them
    advice: str = ""  # to the operator of a listener that does not; {inbound} is what it speaks


PROTOCOLS: Final = (
    KnownProtocol(
        "SOCKS 4",
        first_bytes=b"\4",
        answers=(b"\0",),
        refusal=SOCKS4_REFUSAL,
        inbound="socks5",
        advice="listen on mixed:// for those",
    ),
    KnownProtocol(
        "SOCKS 5",
        first_bytes=b"\5",
        answers=(b"\5",),
        refusal=SOCKS5_REFUSAL,
        inbound="socks5",
        advice="listen on mixed:// for those",
    ),
    KnownProtocol("SOCKS 6", first_bytes=b"\6", answers=(b"\6",), advice="listen on mixed:// for those"),
    KnownProtocol(
        "SOCKS 6 (dialect 212)", first_bytes=b"\xd4", answers=(b"\xd4",), advice="dialect-212 is for those"
    ),
    KnownProtocol(
        "TLS",
        first_bytes=b"\x16",
        answers=(b"\x15", b"\x16"),
        refusal=TLS_REFUSAL,
        advice="listen on {inbound}+tls:// for those",
    ),
    KnownProtocol(
        "ssh",
        prefix=b"SSH-",
        answers=(b"SSH-",),
        refusal=b"this is a proxy, not an ssh server\r\n",  # RFC 4253 §4.2: lines before the version
        inbound="http",  # by their first byte, if no more has come
    ),
    KnownProtocol(
        "HTTP",
        first_bytes=string.ascii_letters.encode(),
        answers=(b"HTTP/", b"<"),  # the latter as to HTTP/0.9, if the request has no version
        inbound="http",
        advice="listen on mixed:// for those",
    ),
    KnownProtocol("mail or FTP", answers=(b"220 ", b"220-")),
)
BY_FIRST_BYTE: Final[Mapping[int, KnownProtocol]] = {
    first: protocol for protocol in PROTOCOLS for first in protocol.first_bytes
}
BY_PREFIX: Final = tuple(protocol for protocol in PROTOCOLS if protocol.prefix)
# What a listener of each inbound answers to clients of a protocol that has no refusal of its own, and to unknown ones.
OWN_ANSWERS: Final[Mapping[str, bytes]] = {"socks5": SOCKS5_REFUSAL, "tls": TLS_REFUSAL}
SPOKEN: Final[Mapping[str, str]] = {
    "socks6": "SOCKS 6",
    "socks5": "SOCKS 5",
    "socks4": "SOCKS 4",
    "http": "HTTP",
    "mixed": "SOCKS and HTTP",
    "tls": "TLS",
}


def client_of(data: bytes | bytearray) -> KnownProtocol | None:
    """Return the protocol of a client that begins with `data`, which is not empty."""
    return next((known for known in BY_PREFIX if data.startswith(known.prefix)), None) or BY_FIRST_BYTE.get(
        data[0]
    )


def is_ambiguous(data: bytes | bytearray) -> bool:
    """Return whether the bytes that follow may lead `client_of` to another protocol."""
    return any(len(data) < len(known.prefix) and known.prefix.startswith(data) for known in BY_PREFIX)


def server_of(data: bytes | bytearray) -> KnownProtocol | None:
    """Return the protocol of a server that begins with `data`."""
    return next((known for known in PROTOCOLS if known.answers and data.startswith(known.answers)), None)


def describe_client(data: bytes | bytearray, inbound: str) -> str:
    """Return who a client is that a listener of `inbound` does not serve, and what would, for its operator."""
    known = client_of(data)
    if known is None:
        return f"first byte {data[0]:#04x}: not {SPOKEN.get(inbound, inbound).replace(' and ', ' or ')}"
    article = "an" if known.name in {"HTTP", "ssh"} else "a"
    advice = f": {known.advice.format(inbound=inbound)}" if known.advice else ""
    return f"{article} {known.name} client{advice}"


def refusal_for(data: bytes | bytearray, inbound: str) -> bytes:
    """Return what a listener of `inbound`, or of "tls", answers to a client that begins with `data`: in its own protocol."""
    known = client_of(data)
    if inbound == "socks6" and data[0] in OTHER_VERSIONS:
        return VERSION_MISMATCH  # § Version Mismatch Replies
    if known is not None and known.refusal:
        return known.refusal
    if known is not None and known.name == "HTTP":
        return _http_refusal(f"this port speaks {SPOKEN.get(inbound, inbound)}, not HTTP")
    if inbound == "http":
        return _http_refusal("this port speaks HTTP and nothing else")
    return OWN_ANSWERS.get(inbound, VERSION_MISMATCH)


def not_tls(data: bytes, *, from_client: bool) -> str:
    """Return what it is that has begun with `data`, where only TLS would do; "" if it may be TLS."""
    known = client_of(data) if from_client else server_of(data)
    if known is None:
        return f"the peer speaks no TLS (its first byte is {data[0]:#04x})"
    return "" if known.name == "TLS" else f"the peer speaks {known.name}, not TLS"


def is_line_pending(data: bytes | bytearray) -> bool:
    """Return whether a server has begun a line of text whose rest would say what it is."""
    return bool(data) and 0x20 <= data[0] < 0x7F and len(data) < MAX_LINE and b"\n" not in data


def describe_server(data: bytes | bytearray, scheme: str = "socks6") -> str:
    """Return what answers where a proxy of this scheme should, and what may help."""
    known, wanted = server_of(data), SPOKEN[scheme]
    if known is not None and known.name == "TLS":
        secure = "https" if scheme == "http" else f"{scheme}+tls"
        return f"that is no {wanted} proxy in the clear: it speaks TLS, so try {secure}://"
    line = bytes(data[:MAX_LINE]).partition(b"\n")[0].rstrip(b"\r")
    speaks = f"it speaks {known.name}" if known else f"its first byte is {data[0]:#04x}"
    if 0x20 <= data[0] < 0x7F:
        speaks = f'it says "{"".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in line)}"'
    return f"that is no {wanted} proxy: {speaks}"


def _http_refusal(sentence: str) -> bytes:
    body = f"{sentence}\n"
    return (
        "HTTP/1.1 400 Bad Request\r\n"
        f'Proxy-Status: socks6; error=http_request_error; details="{sentence}"\r\n'
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode()
