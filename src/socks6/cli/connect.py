"""socks6 connect: standard input and output joined to a host, for ssh's ProxyCommand and the like."""

import asyncio
import functools
import logging
import os
import queue
import select
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, TypeAlias, TypeVar

from socks6.cli.common import NO_PROXY, named_client, named_host, run_client
from socks6.client.client import Client
from socks6.net.stream import ByteStream
from socks6.relay.delivery import end_in_order, reset_if_killed

ResultT = TypeVar("ResultT")
_Job: TypeAlias = Callable[[], None]

STDIN: Final = 0
STDOUT: Final = 1
READ_BYTES: Final = 262_144


def run(arguments: Namespace) -> int:
    """Join them until both directions have ended."""
    client = named_client(arguments, NO_PROXY, session=False)
    host = named_host("HOST", arguments.host)
    # ssh's users need not read how each connection came about
    logging.getLogger("socks6").setLevel(logging.ERROR)
    run_client(client, _join(client, host, arguments.port))
    return 0


async def _join(client: Client, host: str, port: int) -> None:
    stream = await client.connect(host, port)
    reset_if_killed(stream)  # half of the input must not look whole to the host
    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send_input(stream), name="input")
            await _write_output(stream)
            if os.isatty(STDIN):  # else the user would have to type ctrl-D for a connection that is over
                sending.cancel()
        end_in_order(stream)
        await stream.aclose()
    except* OSError as group_of_errors:
        failures.extend(group_of_errors.exceptions)
    finally:
        stream.abort()
    if failures:
        raise failures[0]


async def _send_input(stream: ByteStream) -> None:
    """Send standard input to its end. A host that takes no more may still be sending: receiving goes on."""
    thread = CallingThread()
    while data := await thread.call(_read):
        try:
            await stream.send(data)
        except OSError:
            return
    try:
        await stream.send_eof()
    except OSError:
        return


async def _write_output(stream: ByteStream) -> None:
    """Write what comes to standard output; then close that, so that its reader sees the end."""
    thread = CallingThread()
    while data := await stream.receive(READ_BYTES):
        await thread.call(functools.partial(_write, data))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, STDOUT)
    os.close(nothing)


def _read() -> bytes:
    with _naming("standard input"):
        while True:
            try:
                return os.read(STDIN, READ_BYTES)
            except BlockingIOError:  # another process that shares it has made it so
                select.select([STDIN], [], [])


def _write(data: bytes) -> None:
    left = memoryview(data)
    with _naming("standard output"):
        while left:
            try:
                left = left[os.write(STDOUT, left) :]
            except BlockingIOError:
                select.select([], [STDOUT], [])


@contextmanager
def _naming(file: str) -> Iterator[None]:
    """Name the file in an OSError."""
    try:
        yield
    except OSError as error:
        error.filename = file
        raise


class CallingThread:
    """A thread that makes one blocking call after another.

    A daemon: a call that never returns, such as reading a terminal, does not hold up the end of the process.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    async def call(self, function: Callable[[], ResultT]) -> ResultT:
        """Return what the function returns, or raise the OSError that it raises."""
        answer: Future[ResultT] = Future()

        def job() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(function())
                except OSError as error:
                    answer.set_exception(error)

        self._jobs.put(job)
        return await asyncio.wrap_future(answer)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
