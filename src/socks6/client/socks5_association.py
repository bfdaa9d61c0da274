"""Opens UDP associations at a proxy of SOCKS 5, whose datagrams travel over UDP beside the connection (RFC 1928, section 7)."""

import socket
from ipaddress import ip_address
from typing import Final

from socks6.client.association import Association
from socks6.client.association_factory import UdpPathChoice
from socks6.client.paths import SOCKET_BUFFER_BYTES, UdpPath
from socks6.client.requester import GrantedRequest, RequestFunction
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError, LocalProtocolError, ProxyUnreachable, RemoteProtocolError
from socks6.message.address import is_literal, is_unspecified
from socks6.message.codes import Leg
from socks6.message.dialect import DatagramLayout
from socks6.message.framing import Socks5Framing
from socks6.message.options import StackOption, find_all
from socks6.message.requests import Request
from socks6.net.datagrams.shared import udp_socket
from socks6.net.scopes import on_failure
from socks6.net.stackopts.table import apply_options
from socks6.net.stream import Endpoint, Protection

BESIDE_TLS: Final = 'the datagrams of SOCKS 5 would travel in the clear beside TLS: udp="datagram", or ?udp=datagram, allows that'


@dataclass(frozen=True, slots=True)
class Socks5AssociationFactory:
    """Opens associations at one proxy, by requests that `_ask` makes."""

    _ask: RequestFunction
    _is_chained: bool  # the proxy is reached through another one: no datagram reaches it

    async def open(
        self, request: Request, *, udp: UdpPathChoice, layout: DatagramLayout | None
    ) -> Association:
        """Return an association. Raises as `Client.associate` does, and ConfigurationError for what SOCKS 5 cannot do."""
        if udp == "stream" or layout is not None:
            raise ConfigurationError("datagrams on the stream, and their layouts, are of SOCKS 6")
        if request.port or not is_unspecified(request.host):
            raise ConfigurationError("SOCKS 5 cannot be asked for a certain UDP port at the proxy")
        if self._is_chained:
            raise LocalProtocolError("there is no UDP through another proxy, and SOCKS 5 has nothing else")
        granted = await self._ask(request)
        with on_failure(granted.abort):
            if granted.stream.protection is Protection.ENCRYPTED and udp != "datagram":
                raise LocalProtocolError(BESIDE_TLS)
            relay = _relay_of(granted)
            try:
                sock = _socket_to(relay, granted)
            except OSError as error:
                raise ProxyUnreachable(f"no UDP socket to the proxy: {error}") from error
            apply_options(sock, find_all(request.options, StackOption), Leg.CLIENT_PROXY)
            association = Association(
                granted.stream, granted.conversation, framing=Socks5Framing(), bound=relay, options=()
            )
            # that the port is closed, as an ICMP error has it, may pass: the stream says when the association is over
            association.set_path(UdpPath(sock, on_packets=association.on_packets, refused=lambda: None))
        return association


def _relay_of(granted: GrantedRequest) -> Endpoint:
    """Return where the proxy takes datagrams: as it says, or at its own address, where the one that it says leads nowhere.

    A proxy behind NAT may name its address behind that.
    """
    host, port = granted.reply.host, granted.reply.port
    peer = granted.stream.remote.host
    if not port:
        raise RemoteProtocolError("the proxy names no UDP port")
    if (
        not is_literal(host)
        or is_unspecified(host)
        or (is_literal(peer) and ip_address(host).is_private and not ip_address(peer).is_private)
    ):
        host = peer
    if not host:
        raise ProxyUnreachable("the proxy does not say where it takes datagrams")
    return Endpoint(host, port)


def _socket_to(relay: Endpoint, granted: GrantedRequest) -> socket.socket:
    """Return a UDP socket that is connected to the relay, from the stream's own address if that leads there. Raises OSError."""
    raw = granted.stream.attribute(socket.socket)
    address = None
    if raw is not None and relay.host == granted.stream.remote.host:
        host, _, *scope = raw.getsockname()
        address = (host, 0, *scope)
    return udp_socket(
        address, remote=(relay.host, relay.port), buffer_bytes=SOCKET_BUFFER_BYTES, only_ipv6=False
    )
