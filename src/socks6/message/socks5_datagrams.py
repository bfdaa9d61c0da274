"""SOCKS 5 UDP packets (RFC 1928, section 7) without an object for each; `Socks5Datagram` is the same as a value.

A relay calls `split_packet` for each packet, looks up the key in a dictionary, and calls `decode_key` when that
misses; it writes what `packet_header` gave for a source before the data from there.
"""

from typing import Final

from socks6.message import socks5
from socks6.message.address import MAX_NAME_LENGTH
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType
from socks6.message.socks5 import Socks5Datagram

_WHOLE: Final = b"\0\0\0"  # reserved, and the number of a fragment: no fragment
_KEY_START: Final = len(_WHOLE)
_NAME: Final = AddressType.DOMAIN_NAME.value
_STARTS: Final = {AddressType.IPV4.value: 10, AddressType.IPV6.value: 22}  # of the data, by address type
_NAME_START: Final = 7  # of the data, with a name of no length

MAX_HEADER: Final = _NAME_START + MAX_NAME_LENGTH


def split_packet(packet: bytes) -> tuple[bytes, int] | None:
    """Return a packet's key and where its data start; None for a fragment, and for what is no packet.

    The key holds address type, address and port as they came: equal keys mean equal destinations. Clients choose
    them, so that a cache needs a bound. Fragments are dropped by whoever does not reassemble (RFC 1928, section 7).
    """
    size = len(packet)
    if size < _NAME_START or not packet.startswith(_WHOLE):
        return None
    kind = packet[_KEY_START]
    start = _NAME_START + packet[4] if kind == _NAME else _STARTS.get(kind, 0)
    if not start or start > size:
        return None
    return packet[_KEY_START:start], start


def decode_key(key: bytes) -> tuple[str, int]:
    """Return host and port of a key; DecodeError if it holds no plausible host name."""
    return socks5.read_address(Reader(key))


def packet_header(host: str, port: int) -> bytes:
    """Return what stands before the data of a packet; ValueError for an impossible host or port."""
    return Socks5Datagram(host=host, port=port, data=b"").encode()
