"""An association's messages as datagrams within DTLS: beside a proxy that is reached over TLS. Needs the extra `dtls`."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Final

from socks6.client.paths import CLOSED, PacketCallback, RefusedCallback, UdpPath
from socks6.compat import override
from socks6.errors import ProxyUnreachable, TlsFailed
from socks6.net.transports.dtls import MAX_RECORD_BYTES, DtlsConnector

ENDED: Final = "the proxy ended the DTLS connection"


class DtlsPath(UdpPath):
    """Over UDP, encrypted. `handshake` goes before all else."""

    name = "dtls"

    def __init__(
        self,
        sock: socket.socket,
        connector: DtlsConnector,
        *,
        on_packets: PacketCallback,
        refused: RefusedCallback,
    ) -> None:
        """See `UdpPath`; `on_packets` gets what was in the packets."""
        super().__init__(sock, on_packets=self._decrypt, refused=refused)
        self._connector = connector
        self._conversation = connector.call()
        self._take = on_packets
        self._timer: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()  # the handshake is done, or has failed
        self._failure: OSError | None = None

    @property
    @override
    def largest(self) -> int:
        return min(MAX_RECORD_BYTES, super().largest - self._conversation.expansion)

    @property
    @override
    def unfragmented(self) -> int:
        return min(MAX_RECORD_BYTES, super().unfragmented - self._conversation.expansion)

    @override
    async def handshake(self) -> None:
        self._go_on()
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    @override
    def send_nowait(self, message: bytes) -> None:
        super().send_nowait(self._encrypted(message))

    @override
    async def send(self, message: bytes) -> None:
        await super().send(self._encrypted(message))

    @override
    async def run(self) -> None:
        await super().run()
        if self._failure is not None:
            raise self._failure

    @override
    def close(self) -> None:
        self._conversation.close()
        self._flush()
        self._stop_timer()
        super().close()
        self._failure = self._failure or ProxyUnreachable(CLOSED)
        self._settled.set()
        self.finish()

    @override
    def lend_socket(self) -> None:
        """Return None: what the socket has is encrypted."""

    def _encrypted(self, message: bytes) -> bytes:
        encrypted = self._conversation.encrypt(message)
        if not encrypted:
            raise self._failure or ProxyUnreachable(ENDED)
        return encrypted

    def _decrypt(self, packets: Sequence[bytes]) -> None:
        conversation = self._conversation
        received: list[bytes] = []
        for packet in packets:
            received += conversation.receive(packet)
        if conversation.has_output or conversation.over or not self._settled.is_set():
            self._go_on()
        if received and self._failure is None:
            self._take(received)

    def _go_on(self) -> None:
        """See how far the conversation has come."""
        conversation = self._conversation
        self._flush()
        if conversation.over:
            self._fail(conversation.failure or ProxyUnreachable(ENDED))
        elif conversation.established and not self._settled.is_set():
            failure = self._connector.check(conversation)
            if failure is None:
                self._settled.set()
            else:
                self._fail(failure)
        self._wind()

    def _flush(self) -> None:
        if self._conversation.has_output:
            for datagram in self._conversation.datagrams_to_send():
                with contextlib.suppress(OSError):  # it is sent again when it gets lost
                    super().send_nowait(datagram)

    def _fail(self, failure: TlsFailed | ProxyUnreachable) -> None:
        self._failure = self._failure or failure
        self._conversation.close()
        self._flush()
        self._settled.set()
        self.finish()

    def _wind(self) -> None:
        """Start the timer that sends a lost flight again."""
        self._stop_timer()
        seconds = self._conversation.next_timeout()
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, self._overdue)

    def _overdue(self) -> None:
        self._conversation.handle_timeout()
        self._go_on()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
