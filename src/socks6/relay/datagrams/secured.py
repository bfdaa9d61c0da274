"""The clients' UDP port beside a TLS listener: their datagrams come by DTLS, and by nothing else.

The records are OpenSSL's; what is in them is moved by the mover in Python, which has as many of its own tables
as there are ports of this kind: an association that was opened within TLS is in no table of a clear text port.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from socks6.net.accept import ConnectionLimits
from socks6.net.datagrams.shared import DTLS_BYTES, SharedPort
from socks6.net.transports.dtls_contexts import DtlsContexts
from socks6.relay.datagrams.association_relay import ClientPort
from socks6.relay.datagrams.forwarder import DatagramForwarder, PythonForwarder

if TYPE_CHECKING:
    from socks6.net.transports.dtls_server import DtlsPeer


class DtlsClientPort(ClientPort):
    """A port whose DTLS is ours; `shared` may have other protocols too. Owns it."""

    def __init__(
        self,
        shared: SharedPort,
        contexts: DtlsContexts,
        *,
        limits: ConnectionLimits,
        refused: Callable[[str, str], None],
        wants_certificate: bool,
    ) -> None:
        """See `DtlsServer`. To be made within the loop."""
        from socks6.net.transports.dtls_server import DtlsServer  # noqa: PLC0415 - needs an extra

        self.shared: Final = shared
        self._forwarder = PythonForwarder()
        self._loop = asyncio.get_running_loop()
        self._dtls = DtlsServer(
            shared,
            contexts,
            deliver=self._deliver,
            limits=limits,
            refused=refused,
            wants_certificate=wants_certificate,
        )
        shared.register(DTLS_BYTES, self._dtls)

    @property
    @override
    def sock(self) -> socket.socket:
        return self.shared.sock

    @property
    @override
    def forwarder(self) -> DatagramForwarder:
        return self._forwarder

    @property
    def peers(self) -> int:
        """How many clients have a DTLS connection, or are about to."""
        return self._dtls.peers

    @override
    def close(self) -> None:
        self._dtls.close()
        self.shared.close()

    def _deliver(self, peer: "DtlsPeer", message: bytes) -> None:
        self._forwarder.take(message, peer, self._loop.time())
