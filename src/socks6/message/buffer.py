"""A bounds-checked cursor over received bytes: the only code that indexes what a peer sent."""

from struct import Struct
from typing import Final

from socks6.errors import DecodeError

_U16: Final = Struct("!H")
_U32: Final = Struct("!I")
_U64: Final = Struct("!Q")


class Reader:
    """Reads numbers and bytes in network order; DecodeError where there are none left."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes | bytearray, start: int = 0, end: int | None = None) -> None:
        size = len(data)
        self._data = data
        self._end = size if end is None else end
        self._position = start
        if not 0 <= start <= self._end <= size:
            raise ValueError(f"no bytes {start} to {end} in {size} bytes")

    @property
    def position(self) -> int:
        """Where the next byte is, counted from the start of the whole data."""
        return self._position

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self._end - self._position

    def u8(self) -> int:
        """Return the next byte as a number."""
        start = self._position
        self._advance(1)
        return self._data[start]

    def u16(self) -> int:
        """Return the number in the next two bytes."""
        return self.unpack(_U16)[0]

    def u32(self) -> int:
        """Return the number in the next four bytes."""
        return self.unpack(_U32)[0]

    def u64(self) -> int:
        """Return the number in the next eight bytes."""
        return self.unpack(_U64)[0]

    def unpack(self, layout: Struct) -> tuple[int, ...]:
        """Return the numbers of a fixed layout: one call for a whole header."""
        start = self._position
        self._advance(layout.size)
        return layout.unpack_from(self._data, start)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start = self._position
        self._advance(count)
        return bytes(self._data[start : self._position])

    def section(self, count: int) -> "Reader":
        """Return a reader of the next `count` bytes, which cannot see past them; they are read here."""
        start = self._position
        self._advance(count)
        return Reader(self._data, start, self._position)

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(self._end - self._position)

    def _advance(self, count: int) -> None:
        position = self._position + count
        if not self._position <= position <= self._end:
            raise DecodeError(f"{count} bytes wanted, {self._end - self._position} left")
        self._position = position
