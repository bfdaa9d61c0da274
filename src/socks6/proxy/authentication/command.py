"""An authenticator that is a program of the operator's, kept running: a line of JSON in for each question, one out for each answer.

A question has an `id` besides, which its answer repeats: so several are under way at a time, and are answered in any order. The
program gets questions on its standard input only, ends when that ends, and may write to standard error, which is ours.
It is started when it is first needed. One that ends, that answers nothing, or what is no answer, is killed, and started anew
when it is next needed: at once, but not more often than the back-off says.
"""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final, TypeAlias

from socks6.compat import override
from socks6.errors import ConfigurationError
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.external import (
    MAX_ANSWER,
    Answer,
    ExternalAuthenticator,
    ExternalFailure,
    ExternalSettings,
    FailureCause,
    Question,
    read_answer,
    read_json,
)

# What of our environment the program gets: nothing that may hold a secret.
PASSED_VARIABLES: Final = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
FIRST_BACKOFF: Final = 0.5  # seconds; each failure without a valid answer in between doubles it
MAX_BACKOFF: Final = 60.0
TIMER_SECONDS: Final = 0.01  # that a timer may come early
EXIT_SECONDS: Final = 0.1  # from the end of its output to its own, and after it was killed
CLOSE_SECONDS: Final = 2.0  # for it to end when its input has


def command_words(text: str) -> tuple[str, ...]:
    """Return a program with its arguments, read as a shell would, which does not run it. Raises ConfigurationError if there is no such program."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigurationError(f"no command: {error}") from error
    if not words:
        raise ConfigurationError("no command: it is empty")
    if shutil.which(words[0]) is None:
        raise ConfigurationError(f"there is no program {words[0]!r} that can be run")
    return words


class CommandAuthenticator(ExternalAuthenticator):
    """Asks a program."""

    name = "command"

    def __init__(self, words: Sequence[str], settings: ExternalSettings | None = None) -> None:
        super().__init__(tuple(words), settings)
        self.program = Program(words, self._failed)

    @override
    async def ask(self, question: Question, deadline: float) -> Answer:
        return await self.program.ask(question, deadline)

    @override
    def inherit(self, old: Authenticator) -> None:
        super().inherit(old)
        if isinstance(old, CommandAuthenticator) and (old.name, old.key) == (self.name, self.key):
            self.program, old.program = (
                old.program,
                self.program,
            )  # the one that has not run yet is closed with the old

    @override
    def close(self) -> None:
        self.program.close()

    @override
    async def wait_closed(self) -> None:
        await self.program.wait_closed()

    def _failed(self, failure: ExternalFailure) -> None:
        self.health.failed(failure)


OnFailure: TypeAlias = Callable[[ExternalFailure], None]


class Program:
    """A program, started when it is needed, again and again; `on_failure` is called each time that it fails."""

    def __init__(self, words: Sequence[str], on_failure: OnFailure) -> None:
        self._words: Final = tuple(words)
        self._on_failure: Final = on_failure
        self._process: _Process | None = None
        self._backoff = 0.0
        self._not_before = 0.0
        self._last_failure = ExternalFailure(FailureCause.ENDED)
        self._closed = False

    async def ask(self, question: Question, deadline: float) -> Answer:
        """Return the answer; cancelled at the `deadline` of the loop's clock. Raises ExternalFailure."""
        answer = await self._running().ask(question, deadline)
        self._backoff = 0.0
        return answer

    def close(self) -> None:
        """Let it end, and start it no more. Idempotent."""
        self._closed = True
        if self._process is not None:
            self._process.close()

    async def wait_closed(self) -> None:
        """Wait until it has ended; it is killed if it does not by itself."""
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * CLOSE_SECONDS):
                    await self._process.ended.wait()

    def _running(self) -> "_Process":
        """Return the program, started if it does not run. Raises ExternalFailure."""
        if self._process is not None and self._process.failure is None:
            return self._process
        if asyncio.get_running_loop().time() < self._not_before or self._closed:
            raise self._last_failure
        try:
            self._process = _Process(self._words, self._failed)
        except OSError as error:
            self._failed(ExternalFailure(FailureCause.NOT_STARTED, error.strerror or str(error)))
            raise self._last_failure from None
        return self._process

    def _failed(self, failure: ExternalFailure) -> None:
        """Start it no sooner than the back-off says, which grows until there is a valid answer."""
        self._last_failure = failure
        self._not_before = asyncio.get_running_loop().time() + self._backoff
        self._backoff = min(max(2 * self._backoff, FIRST_BACKOFF), MAX_BACKOFF)
        self._on_failure(failure)


class _Process:
    """The program while it runs, and what it is asked; `on_failure` is called once, when it ends or has to be ended.

    It is made by `subprocess`, as uvloop would give it a socket for its input, and descriptors that it has no use for.
    """

    def __init__(self, words: Sequence[str], on_failure: OnFailure) -> None:
        """Start the program. Raises OSError."""
        self._on_failure: Final = on_failure
        self.failure: ExternalFailure | None = None
        self.ended: Final = asyncio.Event()
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final[dict[int, tuple[str, asyncio.Future[Answer]]]] = {}
        self._last_id = 0
        self._reads = 0  # of its output
        self._buffer = b""
        self._popen: Final = subprocess.Popen(  # noqa: S603 - the operator's own words, without a shell
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ},
            start_new_session=True,  # an interrupt from the terminal is for the server, and a kill for its children, too
        )
        self._input: Final[IO[bytes]] = self._popen.stdin  # type: ignore[assignment]  # asked for above
        self._output: Final[IO[bytes]] = self._popen.stdout  # type: ignore[assignment]  # as well
        for pipe in (self._input, self._output):
            os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(self._output.fileno(), self._readable)

    async def ask(self, question: Question, deadline: float) -> Answer:
        """Return the answer; cancelled at the `deadline` of the loop's clock. Raises ExternalFailure."""
        if self.failure is not None:
            raise self.failure
        reads, number = self._reads, self._last_id + 1
        self._last_id = number
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = question["name"], answer
        try:
            self._write({"id": number, **question})
            return await answer
        except asyncio.CancelledError:
            if self._reads == reads and self._loop.time() >= deadline - TIMER_SECONDS:
                self._fail(ExternalFailure(FailureCause.NO_ANSWER, "it hangs"))
            raise
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """End its input, so that it ends; kill it if it does not."""
        if self.failure is None:
            self.failure = ExternalFailure(FailureCause.ENDED, "the server stops, or was reloaded")
            self._input.close()
            self._loop.call_later(CLOSE_SECONDS, self._kill)

    def _write(self, question: Mapping[str, object]) -> None:
        """Write a line, which is shorter than PIPE_BUF and so is written whole or not at all. Raises ExternalFailure."""
        try:
            written = self._input.write(json.dumps(question, ensure_ascii=False).encode() + b"\n")
        except OSError:
            self._ended_soon("it closed standard input")
        else:
            if not written:
                raise ExternalFailure(FailureCause.OVERLOADED)

    def _readable(self) -> None:
        try:
            data = os.read(self._output.fileno(), MAX_ANSWER)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._output.fileno())
            self._output.close()
            self._ended_soon("it closed standard output")
            return
        self._reads += 1
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            if max(map(len, (*lines, self._buffer))) > MAX_ANSWER:
                raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, f"a line of more than {MAX_ANSWER} bytes")
            for line in lines:
                self._receive(line)
        except ExternalFailure as failure:
            self._buffer = b""
            self._fail(failure)

    def _receive(self, line: bytes) -> None:
        """Take a line. Raises ExternalFailure if nothing can be made of it; what is wrong with one answer is that question's."""
        values = read_json(line)
        number = values.get("id")
        if not isinstance(number, int) or not 1 <= number <= self._last_id:
            raise ExternalFailure(FailureCause.NOT_UNDERSTOOD, "its id is that of no question")
        name, answer = self._waiting.get(number, ("", None))
        if answer is None or answer.done():  # it was given up
            return
        try:
            answer.set_result(read_answer(values, name))
        except ExternalFailure as failure:
            answer.set_exception(failure)

    def _ended_soon(self, sign: str) -> None:
        """Wait a moment for it to end, since how it does tells more than its closing a pipe; then kill it."""
        self._loop.call_later(EXIT_SECONDS, self._end, sign)

    def _end(self, sign: str) -> None:
        code = self._popen.poll()
        if code is not None:
            sign = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self._fail(ExternalFailure(FailureCause.ENDED, sign))

    def _fail(self, failure: ExternalFailure) -> None:
        """Give up what it was asked, and kill it. Only the first failure counts."""
        if self.failure is None:
            self.failure = failure
            self._on_failure(failure)
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self.failure)
        self._kill()

    def _kill(self) -> None:
        """Kill it and its children, if it has not ended, and free all that it was given."""
        if self._popen.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._loop.call_later(EXIT_SECONDS, self._kill)
            return
        self._input.close()
        if not self._output.closed:
            self._loop.remove_reader(self._output.fileno())
            self._output.close()
        self.ended.set()
