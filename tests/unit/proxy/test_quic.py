"""What the log is told of connections over QUIC that come to nothing."""

import asyncio
from pathlib import Path

from typing_extensions import override

from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Event, LimitReached, Observer
from tests.kit.loops import Run
from tests.kit.quic import by_library
from tests.kit.quic_clients import serving
from tests.kit.quic_hostile import initial_packets
from tests.kit.streams import until

LIBRARY = by_library("library")


@LIBRARY
def test_connections_that_come_to_nothing_are_told_of_now_and_then(
    run: Run, tmp_path: Path, library: str
) -> None:
    told: list[tuple[str, str]] = []

    class Witness(Observer):
        wants = (LimitReached,)

        @override
        def observe(self, event: Event) -> None:
            assert isinstance(event, LimitReached)
            told.append((event.source, event.reason))

    async def main() -> None:
        worker = ServerWorker(observers=[Witness()])
        async with serving(tmp_path, worker, library) as scene:
            loop = asyncio.get_running_loop()
            endpoint, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=scene.address
            )
            for _ in range(3):
                for packet in initial_packets(4):
                    endpoint.sendto(packet)
            await until(lambda: bool(told))
            endpoint.close()
        assert len(told) == 1
        assert told[0][0] == "127.0.0.1"
        assert told[0][1].startswith("QUIC: too ")

    run(main())
