"""Listeners over QUIC: which libraries may listen where, and what the log is told."""

import asyncio
from pathlib import Path

import pytest
from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.net.encryption.contexts import TlsParameters
from socks6.net.url import ProxyUrl
from socks6.proxy.quic import backend_for
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import NullObserver
from tests.kit.loops import Run
from tests.kit.quic import BACKENDS
from tests.kit.quic_clients import serving
from tests.kit.quic_hostile import initial_packets
from tests.kit.streams import until

LIBRARY = pytest.mark.parametrize("library", BACKENDS)


@LIBRARY
def test_a_version_that_nobody_has_examined_listens_on_loopback_only(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    settings = Settings(quic_backend=library)
    near, far = (ProxyUrl.parse_listener(f"socks6+quic://{host}:8389") for host in ("127.0.0.1", "0.0.0.0"))
    for address in (near, far):
        assert backend_for(address, TlsParameters(), settings).name == library
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
    assert backend_for(near, TlsParameters(), settings).name == library
    with pytest.raises(
        ConfigurationError, match=rf"{library} 9\.9 is not known: pip install --upgrade socks6\["
    ):
        backend_for(far, TlsParameters(), settings)


@LIBRARY
def test_connections_that_come_to_nothing_are_told_of_now_and_then(
    run: Run, tmp_path: Path, library: str
) -> None:
    told: list[tuple[str, str]] = []

    class Observer(NullObserver):
        @override
        def connection_turned_away(self, source: str, reason: str) -> None:
            told.append((source, reason))

    async def main() -> None:
        worker = ServerWorker(observer=Observer())
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
