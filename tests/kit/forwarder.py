"""A port forwarder: accepting, dialling and relaying, with no protocol in between. In this process or as its own.

As a process, `python -m tests.kit.forwarder LOOP PORT [DESCRIPTORS]` prints the port that it listens on, and
later a line for each thing that its observer is told.
"""

import asyncio
import contextlib
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import IO

from typing_extensions import override

from socks6.net.accept import ConnectionLimits, accept_streams
from socks6.net.direct import DirectOutbound
from socks6.net.eager import EagerTaskGroup
from socks6.net.stream import ByteStream
from socks6.net.transports.tcp import listen_tcp
from socks6.relay.streams import RelayResult, RelaySettings, StreamRelay
from socks6.telemetry import AcceptPaused, Event, EventHub, Observer, UnexpectedError
from tests.kit.loops import LOOP_FACTORIES


class Teller(Observer):
    """Prints what goes wrong."""

    wants = (AcceptPaused, UnexpectedError)

    @override
    def observe(self, event: Event) -> None:
        match event:
            case AcceptPaused():
                print("paused", event.reason, flush=True)
            case UnexpectedError():
                print("error", event.where, repr(event.error), flush=True)
            case _:
                pass


class Forwarder:
    """Where it listens, and how its relays ended."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.results: list[RelayResult] = []


@asynccontextmanager
async def forwarding(target: int, settings: RelaySettings | None = None) -> AsyncIterator[Forwarder]:
    """Forward connections to a port of this machine; those still there in the end are cut off."""
    plane = StreamRelay(settings)
    outbound = DirectOutbound()
    (listener,) = await listen_tcp("127.0.0.1", 0)
    forwarder = Forwarder(listener.local.port)

    async def forward(stream: ByteStream) -> None:
        connection = await outbound.connect("127.0.0.1", target, judge=lambda address, port: True)
        forwarder.results.append(await plane.relay(stream, connection.stream))

    async def serve() -> None:
        async with EagerTaskGroup() as clients:
            await accept_streams(
                listener, forward, limits=ConnectionLimits(), observer=EventHub([Teller()]), group=clients
            )

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve())
        try:
            yield forwarder
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            await listener.aclose()
            await outbound.aclose()
            plane.close()


@contextmanager
def forwarder_process(
    loop: str, target: int, descriptors: int = 0
) -> Iterator[tuple[subprocess.Popen[str], int, IO[str]]]:
    """Forward in a process of its own; yield that, its port, and what it prints."""
    command = [sys.executable, "-m", "tests.kit.forwarder", loop, str(target), str(descriptors)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline()), process.stdout
        finally:
            process.kill()


def main() -> None:
    """Forward until killed."""
    loop, target, descriptors = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    async def forever() -> None:
        async with forwarding(target) as forwarder:
            print(forwarder.port, flush=True)
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop]) as runner:
        runner.run(forever())


if __name__ == "__main__":
    main()
