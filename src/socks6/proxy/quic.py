"""Places where clients come over QUIC: opens them, and has their connections served."""

import asyncio
import functools
from typing import Final

from socks6.errors import ConfigurationError
from socks6.net.accept import ConnectionLimits
from socks6.net.datagrams.shared import SharedPort, SharedPorts
from socks6.net.encryption.contexts import ReloadingContext, TlsParameters
from socks6.net.stream import Endpoint
from socks6.net.transports.quic.connection import QuicConnection
from socks6.net.transports.quic.engine import (
    EXTRAS,
    Backend,
    ServerIdentity,
    load_backend,
    read_identity,
    unvetted_version,
)
from socks6.net.transports.quic.listener import QuicListener
from socks6.net.transports.tcp import NO_SUCH_FAMILY, listening_addresses
from socks6.net.url import ProxyUrl
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker

QUIET_SECONDS: Final = 1.0  # between two lines of the log about connections that came to nothing


def backend_for(address: ProxyUrl, said: TlsParameters, settings: Settings) -> Backend:
    """Return the library that a listener is to use. Raises ConfigurationError for one that cannot do what is asked."""
    backend = load_backend(address.quic.backend or settings.quic_backend)
    if said.client_ca is not None and not backend.verifies_clients:
        raise ConfigurationError(
            f"{address}: client certificates are asked for, and {backend.name} does not check them:"
            " leave them to a listener with TLS, and have QUIC clients give a password"
        )
    if not address.is_local and (version := unvetted_version(backend.name)):
        raise ConfigurationError(
            f"{address} can be reached by others, and what strangers can do to {backend.name} {version} is not known:"
            f" pip install --upgrade socks6[{EXTRAS[backend.name]}], choose the other library (backend=), or listen"
            " on loopback"
        )
    return backend


class QuicSetting:
    """What a QUIC listener's URL asks for, found good. Raises ConfigurationError."""

    def __init__(self, address: ProxyUrl, said: TlsParameters, worker: ServerWorker) -> None:
        self.address: Final = address
        self.backend: Final[Backend] = backend_for(address, said, worker.settings)

        def read(said: TlsParameters) -> ServerIdentity:
            identity = read_identity(said)
            self.backend.check(identity)
            return identity

        self.observer: Final = worker.observer
        self.files: Final = ReloadingContext(said, read, told=worker.observer.certificate_read)

    async def listen(self, ports: SharedPorts) -> list["QuicPlace"]:
        """Listen at each address of the host. Raises OSError."""
        places: list[QuicPlace] = []
        try:
            await self._listen(ports, places)
        except BaseException:
            for place in places:
                await place.aclose()
            raise
        return places

    async def _listen(self, ports: SharedPorts, places: list["QuicPlace"]) -> None:
        """Add a place for each address. Raises OSError."""
        refusals: list[OSError] = []
        port = self.address.port
        for address in await listening_addresses(self.address.host):
            try:
                shared = ports.open(str(address.socket_address[0]), port)
            except OSError as error:
                refusals.append(error)
                continue
            try:
                places.append(QuicPlace(self, shared))
            except BaseException:
                shared.close()
                raise
            port = shared.number
        # a family that this machine does not have passes, if there is another
        for refusal in refusals:
            if refusal.errno not in NO_SUCH_FAMILY or not places:
                raise refusal


class QuicPlace:
    """A UDP port where clients come."""

    def __init__(self, setting: QuicSetting, port: SharedPort) -> None:
        host, number = port.sock.getsockname()[:2]
        place = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        self.url: Final = f"{setting.address.scheme}://{place}"
        self._inbound = setting.address.protocol
        self._listener = QuicListener(port, setting.backend, setting.files.current, url=self.url)
        self._listener.on_refused = self._refused
        self._observer = setting.observer
        self._told_at: float | None = None
        self._untold = 0

    @property
    def local(self) -> Endpoint:
        """Where it listens."""
        return self._listener.local

    async def accept(
        self,
        worker: ServerWorker,
        limits: tuple[ConnectionLimits, ConnectionLimits],
        group: asyncio.TaskGroup,
    ) -> None:
        """Have what comes served, in tasks of `group`, until the place is stopped.

        The first of `limits` counts streams, the second connections.
        """
        while True:
            try:
                self._take(await self._listener.accept(), worker, limits, group)
            except OSError:
                return

    def _refused(self, source: str, reason: str) -> None:
        """Tell of a connection that came to nothing; of many, now and then, and how many there were."""
        now = asyncio.get_running_loop().time()
        if self._told_at is not None and now - self._told_at < QUIET_SECONDS:
            self._untold += 1
            return
        more, self._untold, self._told_at = self._untold, 0, now
        self._observer.connection_turned_away(
            source, f"QUIC: {reason}" + (f" ({more} others)" if more else "")
        )

    def _take(
        self,
        connection: QuicConnection,
        worker: ServerWorker,
        limits: tuple[ConnectionLimits, ConnectionLimits],
        group: asyncio.TaskGroup,
    ) -> None:
        streams, connections = limits
        source = connection.remote.host
        if refusal := connections.enter(source):
            worker.observer.connection_turned_away(source, refusal)
            connection.abort()
            return
        task = group.create_task(worker.serve_connection(connection, self._inbound, limits=streams))
        task.add_done_callback(functools.partial(_leave, connections, source, connection))

    def stop(self) -> None:
        """Let nobody in any more; connections without streams end, others when their last stream does."""
        self._listener.stop()

    async def aclose(self) -> None:
        """Close everything. Idempotent."""
        await self._listener.aclose()


def _leave(
    connections: ConnectionLimits, source: str, connection: QuicConnection, _: "asyncio.Task[None]"
) -> None:
    connection.close()
    connections.leave(source)
