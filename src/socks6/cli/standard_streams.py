"""Standard streams that a long-running command can rely on: always open, and never waited for; a log file likewise.

A terminal that is stopped, a pipe without a reader, and a full disk must not stop a proxy from serving. So whatever a
command writes to standard error or to its log goes through `BackgroundWriter`: a bounded queue and a thread that writes.
"""

import contextlib
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from socks6.compat import override

QUEUED_CHARACTERS: Final = 1 << 20  # what waits for a slow reader at most; later lines are dropped
WAKE: Final = "\0"  # has the thread draw the status line
ECHO_COLUMNS: Final = 3  # left free beside a status line: for ^C, which the terminal shows
ERASE: Final = "\r\x1b[K"  # the line that the cursor is on
PAUSE_SECONDS: Final = 0.02  # after a write: what comes meanwhile is written together, and wakes nobody
FLUSH_SECONDS: Final = 1.0  # how long the end of a command waits for what is queued
LOSS: Final = "socks6: {} lines of log were dropped: they could not be written in time"
FILE_MODE: Final = 0o640  # of a log file that is made: its group may read it


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
    writer = (TerminalWriter if sys.stderr.isatty() else BackgroundWriter)(sys.stderr)
    with contextlib.redirect_stderr(writer):
        try:
            yield
        finally:
            writer.finish(FLUSH_SECONDS)


class LogFile(io.TextIOBase):
    """A file that lines are appended to, made where it is missing.

    When its path leads to another file, or to none, it is opened anew before the next line: what rotates logs may rename
    it, and need not tell.
    """

    encoding = "utf-8"

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._descriptor = -1

    @override
    def fileno(self) -> int:
        """Return the descriptor of the file that the path leads to now. Raises OSError if it cannot be opened."""
        if self._descriptor < 0 or not self._is_current():
            descriptor = self._open()
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = descriptor
        return self._descriptor

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        try:
            descriptor = os.open(self._path, flags | os.O_EXCL, FILE_MODE)
        except FileExistsError:
            return os.open(self._path, flags, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)  # whatever the umask
        return descriptor


class BackgroundWriter(io.TextIOBase):
    """A text stream whose `write` queues for a thread, which writes to `stream`. It raises nothing.

    What finds no room in the queue, and what the stream refuses, is dropped; once the stream takes something again, a
    line of its own says how many lines were lost: `describe_loss` makes it. `on_failure` is called with the first of
    failures that follow each other, in the thread.
    """

    def __init__(
        self,
        stream: TextIO | LogFile,
        *,
        capacity: int = QUEUED_CHARACTERS,
        on_failure: Callable[[OSError], None] = lambda _error: None,
    ) -> None:
        super().__init__()
        self.describe_loss: Callable[[int], str] = LOSS.format
        self._stream = stream
        self._capacity = capacity
        self._on_failure = on_failure
        self._failing = False
        self._torn = False  # the last line is there in part
        self._queue: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._finished = False
        self._idle = False  # the thread waits for more
        self._hurried = False  # somebody waits for the thread
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
                self._dropped += text.count("\n")
                return len(text)
            self._queue.append(text)
            self._size += len(text)
            if self._thread is None:
                self._thread = self._started()
            if self._idle:
                self._changed.notify_all()
        return len(text)

    def _started(self) -> threading.Thread | None:
        """Return the thread, running; None where the system has none left now: the next write tries again."""
        # a daemon: a write that never returns does not hold up the process's end
        thread = threading.Thread(target=self._work, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def finish(self, timeout: float) -> None:
        """Wait until everything is written, `timeout` seconds at most; from then on all is dropped."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._size, timeout)
            self._finished = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle = True
                self._changed.wait_for(lambda: self._queue or self._finished)
                self._idle = False
                if not self._queue:
                    return
                text = "".join(self._queue)
                self._queue.clear()
                lost = self._dropped
            taken = self._put(f"{self.describe_loss(lost)}\n{text}" if lost else text)
            with self._changed:
                self._dropped += -lost if taken else text.count("\n")
                self._size = sum(map(len, self._queue))
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._hurried, PAUSE_SECONDS)

    def _put(self, text: str) -> bool:
        """Write it; return whether all of it was taken."""
        try:
            descriptor = self._stream.fileno()
        except (ValueError, AttributeError):  # a stream in memory; io.UnsupportedOperation is a ValueError
            return self._put_text(text)
        except OSError as error:
            return self._failed(error)
        # Not by the stream, whose lock a daemon thread must not hold while the interpreter ends.
        data = memoryview(text.encode(self.encoding, "backslashreplace"))
        if self._torn:
            data = memoryview(b"\n" + data)
        last = b""  # of what was written
        try:
            while data:
                written = os.write(descriptor, data)
                last, data = bytes(data[written - 1 : written]), data[written:]
        except OSError as error:
            self._torn = last != b"\n" if last else self._torn
            return self._failed(error)
        self._torn = False
        self._failing = False
        return True

    def _failed(self, error: OSError) -> bool:
        if not self._failing:
            self._failing = True
            self._on_failure(error)
        return False

    def _put_text(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return False
        return True


class TerminalWriter(BackgroundWriter):
    """Writes to a terminal, with a status line below all that is written, for as long as there is one."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._line = ""
        self._drawn = False
        self._at_line_start = True  # nothing stands before the cursor but the status line

    def show(self, line: str) -> None:
        """Show a status line, cut to the terminal's width, instead of the one before; "" for none. Returns at once.

        It may quote what others have sent: what is not printable is shown as a question mark.
        """
        line = "".join(character if character.isprintable() else "?" for character in line)
        if line != self._line:
            self._line = line
            self.write(WAKE)

    def clear(self) -> None:
        """Remove the status line; wait until it is gone, FLUSH_SECONDS at most."""
        self.show("")
        with self._changed:
            self._changed.wait_for(lambda: not self._size, FLUSH_SECONDS)

    @override
    def finish(self, timeout: float) -> None:
        self.show("")
        super().finish(timeout)

    @override
    def _put(self, text: str) -> bool:
        text = text.replace(WAKE, "")
        if text:
            self._at_line_start = text.endswith("\n")
        erased = ERASE if self._drawn else ""
        line = self._line[: self._columns() - ECHO_COLUMNS] if self._at_line_start else ""
        self._drawn = bool(line)
        return super()._put(f"{erased}{text}{line}")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80
