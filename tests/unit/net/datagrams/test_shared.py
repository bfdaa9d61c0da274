"""A UDP port that protocols share."""

import asyncio
import socket
from collections.abc import Sequence

from socks6.net.datagrams.poller import DatagramPoller
from socks6.net.datagrams.segments import SegmentSender
from socks6.net.datagrams.shared import DTLS_BYTES, QUIC_BYTES, Arrival, SharedPort
from tests.kit.loops import Run


class Collector:
    """Keeps what came, and tells when there is enough of it."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.came = asyncio.Event()

    def datagrams_received(self, arrivals: Sequence[Arrival]) -> None:
        self.arrivals += arrivals
        self.came.set()


class Stage:
    """A port with a collector for each protocol, and a client's socket."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.faults: list[Exception] = []
        self.poller = DatagramPoller(self.faults.append)
        self.port = SharedPort(host, 0, self.poller)
        self.dtls, self.quic = Collector(), Collector()
        self.port.register(DTLS_BYTES, self.dtls.datagrams_received)
        self.port.register(QUIC_BYTES, self.quic.datagrams_received)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.settimeout(2)
        self.client.connect(("127.0.0.1", self.port.sock.getsockname()[1]))

    def close(self) -> None:
        self.port.close()
        self.port.close()
        self.poller.close()
        self.client.close()
        assert not self.faults


def test_first_byte_tells_the_protocols_apart(run: Run) -> None:
    async def main() -> None:
        stage = Stage()
        for data in (b"", b"\x00", b"\x13", b"\x14", b"\x3f", b"\x40", b"\xff"):
            stage.client.send(data)
        async with asyncio.timeout(2):
            while len(stage.quic.arrivals) < 2:
                await stage.quic.came.wait()
                stage.quic.came.clear()
        assert [arrival.data for arrival in stage.dtls.arrivals] == [b"\x14", b"\x3f"]
        assert [arrival.data for arrival in stage.quic.arrivals] == [b"\x40", b"\xff"]
        assert stage.port.dropped == 3
        stage.close()

    run(main())


def test_answers_leave_from_the_address_that_was_sent_to(run: Run) -> None:
    async def main() -> None:
        stage = Stage("0.0.0.0")
        stage.client.close()
        stage.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stage.client.settimeout(2)
        place = ("127.0.0.7", stage.port.sock.getsockname()[1])
        stage.client.sendto(b"\x16hello", place)
        async with asyncio.timeout(2):
            await stage.dtls.came.wait()
        (arrival,) = stage.dtls.arrivals
        assert arrival.local == bytes((127, 0, 0, 7))
        assert stage.port.send(b"answer", arrival.source, arrival.local)
        assert stage.client.recvfrom(100) == (b"answer", place)
        stage.close()

    run(main())


def test_what_the_kernel_does_not_take_is_counted(run: Run) -> None:
    async def main() -> None:
        stage = Stage()
        assert not stage.port.send(bytes(70_000), stage.client.getsockname())
        assert stage.port.dropped == 1
        stage.close()

    run(main())


def test_datagrams_come_in_rows_only_to_those_who_want_them(run: Run) -> None:
    async def main() -> None:
        stage = Stage()
        stage.port.register(QUIC_BYTES, stage.quic.datagrams_received, in_rows=True)
        sender = SegmentSender(stage.client)
        sender.send([b"\x16" + bytes(99)] * 3 + [b"\x16"], None, [])
        sender.send([b"\x40" + bytes(99)] * 3 + [b"\x40"], None, [])
        async with asyncio.timeout(2):
            while sum(len(arrival.data) for arrival in stage.quic.arrivals) < 301:
                await stage.quic.came.wait()
                stage.quic.came.clear()
        assert [len(arrival.data) for arrival in stage.dtls.arrivals] == [100, 100, 100, 1]
        assert {arrival.size for arrival in stage.quic.arrivals} <= {100, 1}
        sender.close()
        stage.close()

    run(main())


def test_many_are_sent_to_where_something_came_from(run: Run) -> None:
    async def main() -> None:
        stage = Stage()
        stage.port.send_many([b"a" * 9, b"b" * 9, b"c"], stage.client.getsockname())
        assert [stage.client.recv(100) for _ in range(3)] == [b"a" * 9, b"b" * 9, b"c"]
        stage.close()

    run(main())
