"""Room that the relays of one loop read into: big pieces cost fewer calls, and no connection keeps them."""

from mmap import mmap
from typing import Final

PLAIN_BYTES: Final = 262_144
ENCRYPTED_BYTES: Final = 245_760  # less by a record: what it makes, with one that was begun before, has room


class Scratch:
    """Two buffers, of which nothing is kept between two calls: each is overwritten by the next one.

    They begin at a page. Where they do not begin at a multiple of 64 bytes (as the bytes of a bytearray), the kernel of an AMD EPYC
    takes 0.3 to 0.6 s to copy a GB to them, instead of 0.08.
    """

    __slots__ = ("encrypted", "plain")

    def __init__(self, plain: int = PLAIN_BYTES, encrypted: int = ENCRYPTED_BYTES) -> None:
        self.plain = memoryview(mmap(-1, plain))
        self.encrypted = memoryview(mmap(-1, encrypted))

    def part(self, most: int, margin: int) -> "Scratch":
        """Return the same room, of which `most` bytes are read into; `margin` is what decrypting may add to them."""
        part = object.__new__(Scratch)
        part.plain = self.plain[: most + margin]
        part.encrypted = self.encrypted[:most]
        return part
