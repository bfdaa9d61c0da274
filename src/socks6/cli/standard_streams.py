"""Standard streams that a long-running command can rely on: always open, and never waited for.

A terminal that is stopped, a pipe without a reader, and a full disk must not stop a proxy from serving. So whatever a
command writes to standard error goes through `BackgroundWriter`: a bounded queue and a thread that writes.
"""

import contextlib
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final, TextIO

from socks6.compat import override

QUEUED_CHARACTERS: Final = 1 << 20  # what waits for a slow reader at most; later lines are dropped
FLUSH_SECONDS: Final = 1.0  # how long the end of a command waits for what is queued


def open_standard_streams() -> None:
    """Open /dev/null in place of each of descriptors 0, 1 and 2 that is closed.

    Otherwise the first sockets would take these numbers, and what is printed would go to them.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


@contextlib.contextmanager
def background_standard_error() -> Iterator[None]:
    """Make writes to standard error return at once within a block; its end waits FLUSH_SECONDS at most."""
    writer = BackgroundWriter(sys.stderr)
    with contextlib.redirect_stderr(writer):
        try:
            yield
        finally:
            writer.finish(FLUSH_SECONDS)


class BackgroundWriter(io.TextIOBase):
    """A text stream whose `write` queues for a thread, which writes to `stream`. It raises nothing.

    What finds no room in the queue, and what the stream refuses, is dropped; once the stream takes something again, a
    line of its own says how many pieces were lost.
    """

    def __init__(self, stream: TextIO, *, capacity: int = QUEUED_CHARACTERS) -> None:
        super().__init__()
        self._stream = stream
        self._capacity = capacity
        self._queue: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._finished = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        """The encoding of the stream below."""
        return self._stream.encoding or "utf-8"

    @override
    def writable(self) -> bool:
        return True

    @override
    def isatty(self) -> bool:
        return self._stream.isatty()

    @override
    def fileno(self) -> int:
        return self._stream.fileno()

    @override
    def write(self, text: str, /) -> int:
        with self._changed:
            if self._finished or self._size + len(text) > self._capacity:
                self._dropped += 1
                return len(text)
            self._queue.append(text)
            self._size += len(text)
            if self._thread is None:
                self._thread = self._started()
            self._changed.notify_all()
        return len(text)

    def _started(self) -> threading.Thread | None:
        """Return the thread, running; None where the system has none left now: the next write tries again."""
        # a daemon: a write that never returns does not hold up the process's end
        thread = threading.Thread(target=self._work, name="standard error", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def finish(self, timeout: float) -> None:
        """Wait until everything is written, `timeout` seconds at most; from then on all is dropped."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, timeout)
            self._finished = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._finished)
                if not self._queue:
                    return
                text = "".join(self._queue)
                self._queue.clear()
                lost = self._dropped
            if lost:
                text = f"socks6: {lost} lines of log were dropped: they were not read in time\n{text}"
            taken = self._put(text)
            with self._changed:
                self._dropped = self._dropped - lost if taken else self._dropped + 1
                self._size = sum(map(len, self._queue))
                self._changed.notify_all()

    def _put(self, text: str) -> bool:
        """Write it; return whether all of it was taken."""
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError, AttributeError):  # a stream in memory
            return self._put_text(text)
        # Not by the stream, whose lock a daemon thread must not hold while the interpreter ends.
        data = memoryview(text.encode(self.encoding, "backslashreplace"))
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            return False
        return True

    def _put_text(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return False
        return True
