"""socks6 connect: standard input and output joined to a host, for ssh's ProxyCommand and the like."""

import asyncio
import functools
import os
import select
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from socks6.cli.loops import run_loop
from socks6.cli.proxied import NO_PROXY, client_named, host_named
from socks6.cli.threads import CallingThread
from socks6.client.client import Client
from socks6.net.stream import ByteStream
from socks6.relay.delivery import end_in_order, reset_if_killed

STDIN: Final = 0
STDOUT: Final = 1
PIECE: Final = 262_144


def run(arguments: Namespace) -> int:
    """Join them until both directions have ended."""
    client = client_named(arguments, NO_PROXY, session=False)
    host = host_named("HOST", arguments.host)
    open_missing()
    run_loop(_join(client, host, arguments.port))
    return 0


def open_missing() -> None:
    """Have standard input and output be something, lest a socket take the number of one that is closed."""
    for descriptor in (STDIN, STDOUT):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one


async def _join(client: Client, host: str, port: int) -> None:
    stream = await client.connect(host, port)
    reset_if_killed(stream)  # half of the input must not look whole to the host
    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send_input(stream), name="input")
            await _write_output(stream)
            if os.isatty(STDIN):  # nobody is there to type ctrl-D for a connection that is over
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
    """Send standard input to its end. A host that takes no more may still be sending: that goes on."""
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
    """Write what comes to standard output; then close that, so that whoever reads it knows the end."""
    thread = CallingThread()
    while data := await stream.receive(PIECE):
        await thread.call(functools.partial(_write, data))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, STDOUT)
    os.close(nothing)


def _read() -> bytes:
    with _naming("standard input"):
        while True:
            try:
                return os.read(STDIN, PIECE)
            except BlockingIOError:  # whoever shares it with us has made it so
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
    """Have an OSError say which file it is about."""
    try:
        yield
    except OSError as error:
        error.filename = file
        raise
