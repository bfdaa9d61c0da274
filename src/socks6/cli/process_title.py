"""Takes passwords out of the process list, where every user of the machine can read a command line.

The kernel shows what is in a part of the process's own memory, so that this can be rewritten: on Linux and macOS.
From the start of the process until then the password is visible; only an environment variable or a file avoids that.
"""

import contextlib
import re
import sys
from collections.abc import Sequence
from typing import Final

HIDDEN: Final = b"***"
WARNING: Final = (
    "warning: a password on the command line could be read by every user of this machine for a moment, and may be in"
    " your shell's history: better name the proxy by SOCKS6_PROXY or --via-file, and users by SOCKS6_USERS or --users"
)

_FLAG: Final = b"--user"
_IN_URL: Final = re.compile(rb"(://[^:/?#@]*:)[^?#]*(@)", re.DOTALL)
_IN_USER: Final = re.compile(rb"([^:]*:).+()", re.DOTALL)
_SHOWN: Final = rb"\1" + HIDDEN + rb"\2"
_ARGUMENTS_START: Final = 45  # of the fields of /proc/PID/stat behind the name: proc(5) counts them from 3


def hides_passwords(words: Sequence[str]) -> bool:
    """Return whether the command line holds passwords; if so, show them no longer, as far as the system lets us."""
    arguments = [word.encode(errors="surrogateescape") for word in words]
    if without_passwords(arguments) == arguments:
        return False
    with contextlib.suppress(OSError, ImportError, ValueError, IndexError, AttributeError):
        # where it fails, the warning is all that can be done
        _rewrite_darwin() if sys.platform == "darwin" else _rewrite_linux()
    return True


def without_passwords(arguments: Sequence[bytes]) -> list[bytes]:
    """Return a command line's arguments, those of URLs and of --user hidden."""
    befores = [b"", *arguments]
    return [_without_password(before, argument) for before, argument in zip(befores, arguments, strict=False)]


def _without_password(before: bytes, argument: bytes) -> bytes:
    """Return an argument as it may be shown; `before` is the one before it."""
    flag, equals, value = argument.partition(b"=")
    if before == _FLAG:
        return _IN_USER.sub(_SHOWN, argument)
    if flag == _FLAG:
        return flag + equals + _IN_USER.sub(_SHOWN, value)
    return _IN_URL.sub(_SHOWN, argument)


def _rewrite_linux() -> None:
    """Overwrite the memory that /proc/PID/cmdline shows, all of it: what is too long is filled up with zeros."""
    import ctypes  # noqa: PLC0415 - 10 ms that few commands need
    from pathlib import Path  # noqa: PLC0415 - 5 ms

    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_START + 1])
    shown = Path("/proc/self/cmdline").read_bytes()
    if start and end - start == len(shown) and ctypes.string_at(start, len(shown)) == shown:
        hidden = b"\0".join([*without_passwords(shown.rstrip(b"\0").split(b"\0")), b""])
        # without a zero at its end the kernel would show the environment too
        ctypes.memmove(start, hidden[: len(shown) - 1].ljust(len(shown), b"\0"), len(shown))


def _rewrite_darwin() -> None:
    """Overwrite the strings that the C library calls argv, each for itself."""
    import ctypes  # noqa: PLC0415

    library = ctypes.CDLL(None)
    argv, argc = library["_NSGetArgv"], library["_NSGetArgc"]
    argv.restype = ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))
    argc.restype = ctypes.POINTER(ctypes.c_int)
    pointers = argv()[0][: argc()[0]]
    arguments = [ctypes.string_at(pointer) for pointer in pointers]
    for pointer, old, new in zip(pointers, arguments, without_passwords(arguments), strict=True):
        ctypes.memmove(pointer, new.ljust(len(old), b"\0")[: len(old)], len(old))
