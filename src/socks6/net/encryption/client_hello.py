"""What a client of TLS offers to speak, read from its first bytes: `ssl` tells only what was agreed on."""

from typing import Final

from socks6.errors import DecodeError
from socks6.message.buffer import Reader

MOST_HELLO: Final = 32768  # bytes of the first records that are looked at; no client has a longer ClientHello

_HANDSHAKE: Final = 22  # RFC 8446 §5.1
_CLIENT_HELLO: Final = 1  # §4
_ALPN: Final = 16  # RFC 7301 §3.1


def offered_protocols(data: bytes | bytearray) -> tuple[str, ...]:
    """Return the protocols that the ClientHello at the start of `data` offers (ALPN); none where it does not say, or is none."""
    try:
        message = Reader(_handshake_bytes(data))
        if message.u8() != _CLIENT_HELLO:
            return ()
        return _offered(message.section(int.from_bytes(message.take(3))))
    except DecodeError:
        return ()


def _handshake_bytes(data: bytes | bytearray) -> bytes:
    """Return what the records hold together: a message may take several."""
    records, message = Reader(data), b""
    while records.remaining and records.u8() == _HANDSHAKE:
        records.u16()  # the version of the record layer
        size = records.u16()
        message += records.take(min(size, records.remaining))
    return message


def _offered(hello: Reader) -> tuple[str, ...]:
    hello.take(2 + 32)  # version, random
    hello.take(hello.u8())  # session id
    hello.take(hello.u16())  # cipher suites
    hello.take(hello.u8())  # compression methods
    extensions = hello.section(hello.u16())
    while extensions.remaining:
        kind, body = extensions.u16(), extensions.section(extensions.u16())
        if kind == _ALPN:
            names = body.section(body.u16())
            offered = []
            while names.remaining:
                offered.append(names.take(names.u8()).decode("ascii", "backslashreplace"))
            return tuple(offered)
    return ()
