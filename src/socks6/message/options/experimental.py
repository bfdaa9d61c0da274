"""Options beyond the draft."""

from dataclasses import dataclass
from struct import Struct
from typing import Final, Self

from typing_extensions import override

from socks6.message.buffer import Reader
from socks6.message.codes import OptionKind
from socks6.message.options.base import HandshakeMessage, Option, check_range

_U32: Final = Struct("!I")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamId(Option):
    """Which BIND of a multiplexed connection a stream belongs to; a number unique in that connection."""

    kind = OptionKind.STREAM_ID.value
    places = frozenset((HandshakeMessage.REQUEST, HandshakeMessage.OPERATION_REPLY))

    id: int

    def __post_init__(self) -> None:
        check_range("stream id", self.id, 0xFFFFFFFF)

    @override
    @classmethod
    def decode_body(cls, body: Reader) -> Self:
        return cls(id=body.u32())

    @override
    def encode_body(self) -> bytes:
        return _U32.pack(self.id)
