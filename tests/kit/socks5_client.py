"""A SOCKS 5 client with UDP, on blocking sockets."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from socks6.message.codes import Command
from tests.kit.origins import Place
from tests.kit.socks_messages import (
    Socks5Datagram,
    decode_socks5_datagram,
    decode_socks5_reply,
    socks5_greeting,
    socks5_request,
)

PATIENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class Socks5Association:
    """A UDP association of a SOCKS 5 client."""

    control: socket.socket
    udp: socket.socket
    relay: Place

    def send(self, host: str, port: int, data: bytes, *, fragment: int = 0) -> None:
        """Send a datagram."""
        self.udp.send(Socks5Datagram(host=host, port=port, data=data, fragment=fragment).encode())

    def receive(self) -> Socks5Datagram:
        """Return the next datagram. Raises TimeoutError."""
        return decode_socks5_datagram(self.udp.recv(65536))

    def ask(self, host: str, port: int, data: bytes) -> Socks5Datagram:
        """Send a datagram; return what comes back."""
        self.send(host, port, data)
        return self.receive()


@contextlib.contextmanager
def socks5_association(
    proxy: Place, *, claimed: tuple[str, int] = ("0.0.0.0", 0)
) -> Iterator[Socks5Association]:
    """Open an association; `claimed` is what the request says of where the client sends from."""
    with socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE) as control:
        control.sendall(socks5_greeting(0))
        assert control.recv(2) == b"\5\0"
        host, port = claimed
        control.sendall(socks5_request(Command.UDP_ASSOCIATE, host, port))
        reply = decode_socks5_reply(control.recv(64))
        assert reply.code == 0, reply
        with socket.socket(control.family, socket.SOCK_DGRAM) as udp:
            udp.settimeout(PATIENCE)
            udp.connect((reply.host, reply.port))
            yield Socks5Association(control=control, udp=udp, relay=Place(host=reply.host, port=reply.port))
