"""Pipes for splicing: few, large, reused."""

import fcntl
import os
from typing import Final, NamedTuple

PIPE_SIZE: Final = 1 << 20  # CPU time for a GB: 0.22 s; with 256 KiB 0.26, with 64 KiB 0.31 (benchmarks/load)
SMALLEST: Final = 1 << 16  # a smaller pipe moves less at a time than copying does
SPARE: Final = 8  # kept open while unused


class Pipe(NamedTuple):
    """An empty pipe, whose ends do not block."""

    read_end: int
    write_end: int
    size: int


class Pipes:
    """A bounded stock of pipes.

    A direction has one only while bytes are in it: for the moment of a transfer, longer where the receiving
    side is slow. So idle connections hold none.
    """

    def __init__(self, most: int, size: int = PIPE_SIZE) -> None:
        self._most = most
        self._size = size
        self.made = 0  # in use or not
        self._keep = SPARE
        self._spare: list[Pipe] = []

    def take(self) -> Pipe | None:
        """Return an empty pipe; None if there are too many already, or no descriptors or memory for it."""
        if self._spare:
            return self._spare.pop()
        return self._make() if self.made < self._most else None

    def give(self, pipe: Pipe) -> None:
        """Take an empty pipe back."""
        if len(self._spare) < self._keep:
            self._spare.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Take back a pipe that is not empty."""
        self.made -= 1
        os.close(pipe.read_end)
        os.close(pipe.write_end)

    def close(self) -> None:
        """Keep no unused pipe from now on. Idempotent."""
        self._keep = 0
        while self._spare:
            self.discard(self._spare.pop())

    def _make(self) -> Pipe | None:
        try:
            read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        self.made += 1
        pipe = Pipe(read_end, write_end, _resize(write_end, self._size))
        if pipe.size < SMALLEST:
            self.discard(pipe)
            return None
        return pipe


def _resize(end: int, size: int) -> int:
    """Return the size of a pipe, made `size` if the kernel lets us (fs.pipe-max-size, pipe-user-pages-soft)."""
    try:
        return fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, size)
    except OSError:
        return fcntl.fcntl(end, fcntl.F_GETPIPE_SZ)
