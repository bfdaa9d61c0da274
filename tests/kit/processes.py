"""Our commands as processes of their own, for as long as they take; `tests.kit.proxies` runs those that listen."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from tests.kit.fork_server import Command
from tests.kit.proxies import ENVIRONMENT

END_SECONDS: Final = 30.0  # on a machine that is busy with other tests


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    output: bytes
    errors: str


def socks6(*arguments: str, typed: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
    """Run `socks6 ...` with `typed` in a pipe for its standard input, to its end."""
    with started(*arguments, stdin=subprocess.PIPE, environment=environment) as process:
        output, errors = process.communicate(typed, timeout=END_SECONDS)
    return Ended(code=process.wait(), output=output, errors=errors.decode())


@contextlib.contextmanager
def started(
    *arguments: str,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Command]:
    """Run `socks6 ...` until it ends, or the block does."""
    everything = {**ENVIRONMENT, **(environment or {})}
    with Command(*arguments, stdin=stdin, stdout=stdout, environment=everything) as process:
        try:
            yield process
        finally:
            process.kill()
