"""How datagrams on one side of an association name their destination or their source.

By a header of SOCKS 6 (§ Handling UDP ASSOCIATE), by one of SOCKS 5 (RFC 1928, section 7), or not at all. A header's key
is the bytes that name host and port: equal keys mean equal hosts and ports. Peers choose them, so that a cache needs a
bound. `relay/datagrams/native/framing.c` does the same for the compiled forwarder.
"""

from typing import Final, NamedTuple, Protocol, TypeAlias

from socks6.compat import override
from socks6.message.buffer import Reader
from socks6.message.codes import AddressType
from socks6.message.datagrams import (
    DatagramPrefix,
    build_datagram,
    datagram_prefix,
    decode_destination,
    parse_header,
)
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.options.base import check_range
from socks6.message.socks5 import encode_host_and_port, read_address

NativeFraming: TypeAlias = tuple[int, int, bool, int]
"""Kind of header, version, whether a name's length counts itself, association id: as native/framing.h has them."""


_DOMAIN_NAME: Final = AddressType.DOMAIN_NAME.value
_SOCKS5_WHOLE: Final = b"\0\0\0"  # reserved, and the number of a fragment: no fragment
_SOCKS5_STARTS: Final = {AddressType.IPV4.value: 10, AddressType.IPV6.value: 22}  # of the data
_SOCKS5_NAME_START: Final = 7  # of the data, behind a name of no length


class Framing(Protocol):
    """What is written before the data of each datagram."""

    @property
    def native(self) -> NativeFraming:
        """What the compiled forwarder knows it by."""

    def parse(self, message: bytes) -> tuple[bytes, int, int] | None:
        """Return the key, and where the data start and end; None if it is no datagram of this association's."""

    def host_of(self, key: bytes) -> "tuple[str, int, Framing]":
        """Return host and port of a key, and the framing that its sender uses. Raises DecodeError."""

    def prefix(self, host: str, port: int) -> DatagramPrefix:
        """Return what `build` puts before data for a host, or from it; ValueError for an impossible host or port."""

    def build(self, prefix: DatagramPrefix, data: bytes) -> bytes | None:
        """Return a whole datagram; None if it would be too long."""


class Socks6Framing(NamedTuple):
    """The `Framing` of a Datagram message of one association; `layout` counts where both fit."""

    association_id: int
    dialect: Dialect
    layout: DatagramLayout

    @property
    def header_size(self) -> int:
        """How many bytes there are before the data, without the address."""
        return 16

    @property
    def native(self) -> NativeFraming:
        dialect = self.dialect
        kind = 2 if self.layout is DatagramLayout.DRAFT else 3
        return kind, dialect.version, dialect.domain_length_counts_itself, self.association_id

    def parse(self, message: bytes) -> tuple[bytes, int, int] | None:
        header = parse_header(message, self.dialect, self.layout)
        return header[1:] if header is not None and header[0] == self.association_id else None

    def host_of(self, key: bytes) -> tuple[str, int, Framing]:
        host, port, layout = decode_destination(key, self.dialect, self.layout)
        return host, port, self if layout is self.layout else self._replace(layout=layout)

    def prefix(self, host: str, port: int) -> DatagramPrefix:
        return datagram_prefix(self.association_id, host, port, self.dialect, self.layout)

    def build(self, prefix: DatagramPrefix, data: bytes) -> bytes | None:
        return build_datagram(prefix, data)


class Socks5Framing(Framing):
    """A packet of SOCKS 5, read without an object for it. Fragments are none: they are not reassembled."""

    native = (1, 0, False, 0)
    header_size = 6  # as above

    @override
    def parse(self, message: bytes) -> tuple[bytes, int, int] | None:
        size = len(message)
        if size < _SOCKS5_NAME_START or not message.startswith(_SOCKS5_WHOLE):
            return None
        kind = message[3]
        start = _SOCKS5_NAME_START + message[4] if kind == _DOMAIN_NAME else _SOCKS5_STARTS.get(kind, 0)
        return (message[3:start], start, size) if 0 < start <= size else None

    @override
    def host_of(self, key: bytes) -> tuple[str, int, Framing]:
        return *read_address(Reader(key)), self

    @override
    def prefix(self, host: str, port: int) -> DatagramPrefix:
        check_range("port", port, 0xFFFF)
        return _SOCKS5_WHOLE + encode_host_and_port(host, port), b""

    @override
    def build(self, prefix: DatagramPrefix, data: bytes) -> bytes | None:
        return prefix[0] + data


class NoFraming(Framing):
    """Data alone. On the client's side all of it is for one host and port."""

    native = (0, 0, False, 0)

    def __init__(self, host: str = "", port: int = 0) -> None:
        self._host = host
        self._port = port

    @override
    def parse(self, message: bytes) -> tuple[bytes, int, int] | None:
        return b"", 0, len(message)

    @override
    def host_of(self, key: bytes) -> tuple[str, int, Framing]:
        return self._host, self._port, self

    @override
    def prefix(self, host: str, port: int) -> DatagramPrefix:
        return b"", b""

    @override
    def build(self, prefix: DatagramPrefix, data: bytes) -> bytes | None:
        return data
