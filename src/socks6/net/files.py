"""Reading and writing files that others may be writing or reading at the same time."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from socks6.net.scopes import on_failure

ATTEMPTS: Final = 20
PAUSE_SECONDS: Final = 0.1  # a file that was written within them may be in the middle of it

CONFIRM_SECONDS: Final = 0.01


class Contents(NamedTuple):
    """What was read, and the file's mode."""

    data: bytes
    mode: int


def read_stable(path: str | Path, *, pause: Callable[[float], None] = time.sleep) -> Contents:
    """Return the contents of a file that is not being written: one that has just changed is read again.

    Blocks for up to 2 s then. What is no regular file, such as a pipe, is read once. Raises OSError, also for a
    file that does not come to rest.
    """
    for _ in range(ATTEMPTS):
        with Path(path).open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read()
            after = os.fstat(file.fileno())
        if not stat.S_ISREG(after.st_mode):
            return Contents(data, after.st_mode)
        unchanged = _state(before) == _state(after) and len(data) == after.st_size
        if unchanged and abs(time.time() - after.st_mtime) >= PAUSE_SECONDS:
            # a file that is being truncated is empty for a moment before its time changes
            pause(CONFIRM_SECONDS)
            if _state(os.stat(path)) == _state(after):
                return Contents(data, after.st_mode)
        pause(PAUSE_SECONDS)
    raise OSError(0, "is being written all the time", str(path))


def write_atomically(path: str | Path, data: bytes, *, private: bool = False) -> None:
    """Replace a file's contents: readers find the old file or the new one, never a part. Raises OSError.

    A new file, or one that is to be `private`, is readable by its owner alone; another keeps its mode and, as far as
    we may, its owner. A link leads where it led.
    """
    import tempfile  # noqa: PLC0415 - 5 ms that who only reads files need not spend

    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with on_failure(lambda: discard_file(name)):
        with opened_for_writing(descriptor) as file:
            if target.exists() and not private:  # else it has the mode of what mkstemp makes
                known = target.stat()
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), known.st_uid, known.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(known.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)


def discard_file(path: str | Path) -> None:
    """Remove a file that came to nothing; where that fails, the first failure is the one to report."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def opened_for_writing(descriptor: int) -> BinaryIO:
    """Return a file that owns a descriptor, which is closed if there is no such file. Raises OSError."""
    with on_failure(lambda: os.close(descriptor)):
        return os.fdopen(descriptor, "wb")


@contextlib.contextmanager
def locked_directory(path: str | Path) -> Iterator[None]:
    """Keep others that do the same from changing files of the folder until the block ends. Raises OSError."""
    folder = os.open(Path(os.path.realpath(path)).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
