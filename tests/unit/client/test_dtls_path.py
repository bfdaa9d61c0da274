"""Associations within DTLS, as the client sees them."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from socks6.client.client import Client
from socks6.client.dtls_path import DtlsPath
from socks6.errors import CertificateRefused, ConfigurationError, DatagramTooLarge, ProxyUnreachable
from socks6.net.transports.dtls import MAX_RECORD_BYTES, DtlsConnector
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings, UdpSettings
from socks6.proxy.worker import ServerWorker
from tests.kit.certificates import Files, write_certificate
from tests.kit.dtls import PATIENCE, Stage, dtls_stage, goes_on
from tests.kit.loops import Run
from tests.kit.udp_hosts import udp_echo
from tests.kit.udp_server import OPENLY


class Walker:
    """A path to a stage, and what came by it."""

    def __init__(self, stage: Stage, connector: DtlsConnector | None = None) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(stage.place)
        self.path = DtlsPath(sock, connector or stage.connector, on_packets=self._take, refused=lambda: None)

    def _take(self, packets: Sequence[bytes]) -> None:
        for packet in packets:
            self.received.put_nowait(packet)


def test_messages_go_and_come(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            walker = Walker(stage)
            await walker.path.handshake()
            await walker.path.send(b"one")
            walker.path.send_nowait(b"two")
            assert [await walker.received.get() for _ in range(2)] == [b"one", b"two"]
            assert walker.path.largest == MAX_RECORD_BYTES
            assert 1400 < walker.path.unfragmented <= MAX_RECORD_BYTES
            assert walker.path.dropped == 0
            walker.path.close()
            walker.path.close()

    run(main())


def test_second_path_goes_on_with_the_keys_of_the_first(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            first = None
            for _ in range(2):
                walker = Walker(stage)
                await walker.path.handshake()
                first = first or walker.path._conversation
                assert goes_on(walker.path._conversation, first)
                await walker.path.send(b"x")
                assert await walker.received.get() == b"x"
                walker.path.close()

    run(main())


def test_wrong_proxy_is_refused_and_told(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            walker = Walker(stage, DtlsConnector("elsewhere.example", stage.said))
            with pytest.raises(CertificateRefused, match=r"not valid for 'elsewhere\.example'"):
                await walker.path.handshake()
            with pytest.raises(CertificateRefused):
                await walker.path.send(b"x")
            walker.path.close()
            assert not stage.messages

    run(main())


def test_proxy_that_ends_the_connection_ends_the_path(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            walker = Walker(stage)
            await walker.path.handshake()
            await walker.path.send(b"x")
            assert await walker.received.get() == b"x"
            async with asyncio.TaskGroup() as group:
                running = group.create_task(_expect_end(walker))
                stage.server.close()
                await running
            with pytest.raises(ProxyUnreachable, match="ended the DTLS connection"):
                walker.path.send_nowait(b"y")
            walker.path.close()

    run(main())


async def _expect_closed(walker: Walker) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ProxyUnreachable, match="was closed"):
            await walker.path.handshake()


async def _expect_end(walker: Walker) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ProxyUnreachable, match="ended the DTLS connection"):
            await walker.path.run()


def test_closing_ends_a_handshake_that_nobody_answers(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            walker = Walker(stage)
            stage.server.close()
            async with asyncio.TaskGroup() as group:
                shaking = group.create_task(_expect_closed(walker))
                await asyncio.sleep(0)
                assert not shaking.done()
                walker.path.close()

    run(main())


def test_finished_path_ends_well(run: Run) -> None:
    async def main() -> None:
        async with dtls_stage() as stage:
            walker = Walker(stage)
            await walker.path.handshake()
            walker.path.finish()
            await walker.path.run()
            walker.path.close()

    run(main())


@contextlib.asynccontextmanager
async def proxy(files: Files, *, udp: bool = True) -> AsyncIterator[str]:
    """Run a proxy with TLS, and perhaps DTLS; give its URL."""
    settings = Settings(udp=UdpSettings(enabled=udp))
    listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}"
    async with Server([listen], ServerWorker(policy=OPENLY, settings=settings)) as running:
        yield f"{running.urls[0]}?ca={files.ca}"


def test_longest_data_are_told_and_longer_ones_refused(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with udp_echo() as far:
            async with (
                proxy(write_certificate(tmp_path)) as url,
                Client(url) as client,
                client.associate(udp="datagram") as udp,
            ):
                most = udp.max_data(far.host)
                assert most == MAX_RECORD_BYTES - 20  # a Datagram header with an IPv4 address
                await udp.send(bytes(most), (far.host, far.port))
                assert (await udp.receive())[0] == bytes(most)
                with pytest.raises(DatagramTooLarge):
                    await udp.send(bytes(most + 1), (far.host, far.port))
                assert udp.unfragmented_data(far.host) <= most

    run(main())


def test_auto_takes_the_stream_where_nobody_speaks_dtls(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            proxy(write_certificate(tmp_path), udp=False) as url,
            Client(url) as client,
        ):
            for _ in range(2):
                async with client.associate() as udp:
                    assert udp.path == "stream"
            with pytest.raises(ProxyUnreachable, match="its UDP port is closed"):
                async with client.associate(udp="datagram"):
                    pass

    run(main())


def test_auto_takes_the_stream_where_somebody_else_speaks_dtls(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with proxy(write_certificate(tmp_path), udp=False) as url:
            port = int(url.partition("?")[0].rpartition(":")[2])
            async with dtls_stage(port=port, issuer="somebody else") as stage, Client(url) as client:
                async with client.associate() as udp:
                    assert udp.path == "stream"
                assert not stage.messages

    run(main())


@pytest.mark.parametrize(
    ("said", "path"), [("auto", "dtls"), ("dtls", "dtls"), ("datagram", "dtls"), ("stream", "stream")]
)
def test_url_says_which_path_is_usual(run: Run, tmp_path: Path, said: str, path: str) -> None:
    async def main() -> None:
        async with proxy(write_certificate(tmp_path)) as url, Client(f"{url}&udp={said}") as client:
            async with client.associate() as udp:
                assert udp.path == path
            async with client.associate(udp="stream") as udp:
                assert udp.path == "stream"

    run(main())


def test_without_the_extra_there_is_the_stream_and_a_clear_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with proxy(write_certificate(tmp_path)) as url, Client(url) as client:
            async with client.associate() as udp:
                assert udp.path == "stream"
            with pytest.raises(ConfigurationError, match=r"pip install 'pysocks6\[dtls\]"):
                async with client.associate(udp="datagram"):
                    pass

    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    run(main())


def test_certificates_are_shown_on_both_ways(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        files = write_certificate(tmp_path)
        user = write_certificate(tmp_path, "alice@example.com", stem="user")
        listen = f"socks6+tls://127.0.0.1:0?{files.listener_query}&client-ca={files.ca}"
        async with Server([listen], ServerWorker(policy=OPENLY)) as running:
            with udp_echo() as far:
                url = f"{running.urls[0]}?ca={files.ca}&cert={user.certificate}&key={user.key}"
                async with Client(url) as client, client.associate(udp="datagram") as udp:
                    await udp.send(b"hello", (far.host, far.port))
                    assert (await udp.receive())[0] == b"hello"

    run(main())
