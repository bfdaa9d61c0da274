"""A bounds-checked cursor over received bytes: the only code that indexes what a peer sent."""

from struct import Struct
from typing import Final

from socks6.errors import DecodeError

_U32: Final = Struct("!I")


class Reader:
    """Reads numbers and bytes in network order; DecodeError where there are none left."""

    __slots__ = ("_data", "_end", "position")

    def __init__(self, data: bytes | bytearray, start: int = 0, end: int | None = None) -> None:
        size = len(data)
        self._data = bytes(data)  # no copy if it is bytes
        self._end = size if end is None else end
        self.position = start  # of the next byte, from the start of the whole data
        if not 0 <= start <= self._end <= size:
            raise ValueError(f"no bytes {start} to {end} in {size} bytes")

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self._end - self.position

    def u8(self) -> int:
        """Return the next byte as a number."""
        start = self.position
        if start >= self._end:
            raise self._too_short(1)
        self.position = start + 1
        return self._data[start]

    def u16(self) -> int:
        """Return the number in the next two bytes."""
        start = self.position
        end = start + 2
        if end > self._end:
            raise self._too_short(2)
        self.position = end
        return self._data[start] << 8 | self._data[start + 1]

    def u32(self) -> int:
        """Return the number in the next four bytes."""
        return self.unpack(_U32)[0]

    def unpack(self, layout: Struct) -> tuple[int, ...]:
        """Return the numbers of a fixed layout: one call for a whole header."""
        start = self.position
        end = start + layout.size
        if end > self._end:
            raise self._too_short(layout.size)
        self.position = end
        return layout.unpack_from(self._data, start)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start = self.position
        end = start + count
        if not start <= end <= self._end:
            raise self._too_short(count)
        self.position = end
        return self._data[start:end]

    def section(self, count: int) -> "Reader":
        """Return a reader of the next `count` bytes, which cannot see past them; they are read here."""
        start = self.position
        end = start + count
        if not start <= end <= self._end:
            raise self._too_short(count)
        self.position = end
        return Reader(self._data, start, end)

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(self._end - self.position)

    def _too_short(self, count: int) -> DecodeError:
        return DecodeError(f"{count} bytes wanted, {self._end - self.position} left")
