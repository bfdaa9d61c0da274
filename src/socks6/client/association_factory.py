"""Opens UDP associations: finds the path to the proxy that its datagrams can take, and has it confirmed."""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterable
from dataclasses import field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from socks6.client.association import Association
from socks6.client.paths import DatagramPath, StreamPath, UdpPath, socket_beside
from socks6.client.quic_path import DatagramDemux
from socks6.client.requester import GrantedRequest, RequestFunction, error_for
from socks6.dataclass import dataclass
from socks6.errors import ConfigurationError, LocalProtocolError, ProxyUnreachable, TlsFailed
from socks6.message.codes import Leg
from socks6.message.datagrams import AssociationConfirmation, AssociationInitialization, AssociationMessage
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.framing import Socks6Framing
from socks6.message.options import StackOption, find_all
from socks6.message.requests import Request
from socks6.net.machine_io import next_event
from socks6.net.scopes import on_failure, time_limit
from socks6.net.stackopts.table import apply_options
from socks6.net.stream import Endpoint, Substream
from socks6.net.transports import dtls_contexts
from socks6.net.transports.tls import TlsSession
from socks6.net.url import ProxyUrl
from socks6.protocol.events import AssociationMessageReceived, ClientEvent, MessagesIgnored

if TYPE_CHECKING:
    from socks6.net.transports.dtls import DtlsConnector

UdpPathChoice: TypeAlias = Literal["datagram", "stream", "auto"]

# Seconds to wait for the confirmation before the opening datagram is sent again (§ Proxying UDP servers).
FIRST_WAITS: Final = (0.2, 0.4, 0.8, 1.6)  # after these, "auto" takes the stream
LATER_WAIT: Final = 3.0
HANDSHAKE_SECONDS: Final = 4.0  # what DTLS gets before "auto" takes the stream: a flight may be lost
BLOCKED_SECONDS: Final = 300.0  # for so long "auto" takes the stream at once, where UDP did not get through
END_SECONDS: Final = 2.0  # what the proxy gets to end an association that was not confirmed


@dataclass(slots=True, eq=False)
class AssociationFactory:
    """Opens associations at one proxy, by requests that `_ask` makes; knows whether its UDP gets through.

    The URL names the proxy and its certificates.
    """

    _ask: RequestFunction
    _dialect: Dialect
    _url: ProxyUrl
    _is_chained: bool = False  # the proxy is reached through another one: there is no UDP beside the stream
    _blocked_until: float = 0.0
    _demux: DatagramDemux = field(default_factory=DatagramDemux)
    _dtls: "DtlsConnector | None" = None

    async def open(
        self, request: Request, *, udp: UdpPathChoice, layout: DatagramLayout | None
    ) -> Association:
        """Return a confirmed association. Raises as `Client.associate` does."""
        if self._is_chained and udp == "datagram":
            raise LocalProtocolError('there is no UDP through another proxy: use udp="stream"')
        attempt = await self._begin(request, layout)
        now = asyncio.get_running_loop().time
        over_stream = self._is_chained or udp == "stream" or (udp == "auto" and now() < self._blocked_until)
        with on_failure(attempt.association.abort):
            path = None if over_stream else self._udp_path(attempt, required=udp == "datagram")
            if path is None:
                return await attempt.over_stream()
            waits = FIRST_WAITS if udp == "auto" else chain(FIRST_WAITS, repeat(LATER_WAIT))
            if await attempt.over_udp(path, waits, required=udp == "datagram"):
                return attempt.association
            if udp == "datagram":
                raise ProxyUnreachable("the proxy takes no datagrams: its UDP port is closed")
            await attempt.end()
        self._blocked_until = now() + BLOCKED_SECONDS
        return await self.open(request, udp="stream", layout=layout)

    def _udp_path(self, attempt: "_UnconfirmedAssociation", *, required: bool) -> DatagramPath | None:
        """Return a path for datagrams that is as safe as the stream; None where there is none.

        Raises LocalProtocolError, or ConfigurationError, if there must be one.
        """
        stream, association = attempt.granted.stream, attempt.association
        if (substream := stream.attribute(Substream)) is not None:
            number = attempt.number
            return self._demux.path(substream.connection, stream, number, association.on_packets)
        dtls = None
        if stream.attribute(TlsSession) is not None and (dtls := self._connector(required=required)) is None:
            return None
        try:
            sock = socket_beside(stream.raw_socket if dtls is None else stream.attribute(socket.socket))
        except OSError as error:
            raise ProxyUnreachable(f"no UDP socket to the proxy: {error}") from error
        if sock is None:
            if required:
                raise LocalProtocolError('there is no UDP beside this transport: use udp="stream"')
            return None
        apply_options(sock, attempt.client_leg_options, Leg.CLIENT_PROXY)
        if dtls is None:
            return UdpPath(sock, on_packets=association.on_packets, refused=attempt.on_refused)
        from socks6.client.dtls_path import DtlsPath  # noqa: PLC0415 - needs an extra

        return DtlsPath(sock, dtls, on_packets=association.on_packets, refused=attempt.on_refused)

    def _connector(self, *, required: bool) -> "DtlsConnector | None":
        """Return what connects with DTLS; None where that is not possible. Raises ConfigurationError if it must be."""
        try:
            if self._dtls is None:
                if not dtls_contexts.available():
                    raise ConfigurationError(dtls_contexts.NO_EXTRA)
                from socks6.net.transports.dtls import DtlsConnector  # noqa: PLC0415 - as above

                self._dtls = DtlsConnector(self._url.host, self._url.tls)
        except ConfigurationError:
            if required:
                raise
        return self._dtls

    async def _begin(self, request: Request, layout: DatagramLayout | None) -> "_UnconfirmedAssociation":
        """Ask for an association, and wait for its id."""
        granted = await self._ask(request)
        with on_failure(granted.abort):
            message = await _next_message(granted)
            while not isinstance(message, AssociationInitialization):
                message = await _next_message(granted)
        framing = Socks6Framing(
            message.association_id, self._dialect, layout or self._dialect.datagram_layout
        )
        association = Association(
            granted.stream,
            granted.conversation,
            framing=framing,
            bound=Endpoint(granted.reply.host, granted.reply.port),
            options=tuple(find_all(granted.reply.options, StackOption)),
            lease=granted.lease,
        )
        near = tuple(
            option for option in find_all(request.options, StackOption) if option.leg & Leg.CLIENT_PROXY
        )
        return _UnconfirmedAssociation(granted, association, near, message.association_id)


class _UnconfirmedAssociation:
    """An association that is not confirmed yet."""

    def __init__(
        self,
        granted: GrantedRequest,
        association: Association,
        client_leg_options: tuple[StackOption, ...],
        number: int,
    ) -> None:
        self.association = association
        self.number = number
        self.granted = granted
        self.client_leg_options = client_leg_options
        self._limit: asyncio.Timeout | None = None
        self._refused = False

    async def over_udp(self, path: DatagramPath, waits: Iterable[float], *, required: bool) -> bool:
        """Send the opening datagram again and again; return whether the association was confirmed meanwhile.

        Within DTLS, if that is the way: raises TlsFailed where it is required and cannot be had.
        """
        self.association.set_path(path)
        if not await self._secured(path, required=required):
            return False
        opening = self.association.opening()
        for seconds in waits:
            with contextlib.suppress(OSError):  # whatever the network has against it may pass
                self.association.send_message(opening)
            if await self._within(seconds, self._confirmed()):
                return True
            if self._refused:
                return False
        return False

    async def _secured(self, path: DatagramPath, *, required: bool) -> bool:
        """Shake hands; return whether that went well, and in time where there is another path."""
        try:
            return await self._within(None if required else HANDSHAKE_SECONDS, path.handshake())
        except TlsFailed as error:
            if required:
                raise type(error)(f"no DTLS with the proxy: {error}") from error
            return False

    async def over_stream(self) -> Association:
        """Return the association, confirmed to travel on the stream."""
        self.association.set_path(StreamPath(self.granted.stream))
        try:
            await self.granted.stream.send(self.association.opening())
        except OSError as error:
            raise ProxyUnreachable(f"the connection to the proxy broke: {error}") from error
        await self._confirmed()
        return self.association

    async def end(self) -> None:
        """End the association at the proxy too, so that its port is free again."""
        stream = self.granted.stream
        with contextlib.suppress(OSError):
            async with time_limit(END_SECONDS):
                await stream.send_eof()
                while await stream.receive():
                    pass
        self.association.abort()

    async def _within(self, seconds: float | None, step: Coroutine[None, None, None]) -> bool:
        """Take a step; return whether it was done in time."""
        done = False
        try:
            async with time_limit(seconds) as self._limit:
                await step
                done = True
        finally:
            self._limit = None
        return done

    async def _confirmed(self) -> None:
        """Wait for the confirmation; what else comes is the association's."""
        while True:
            message = await _next_message(self.granted)
            if isinstance(message, AssociationConfirmation) and message.association_id == self.number:
                return
            self.association.on_message(message)

    def on_refused(self) -> None:
        """Wait no longer: an ICMP error reports that the proxy's UDP port is closed."""
        self._refused = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())


async def _next_message(granted: GrantedRequest) -> AssociationMessage:
    """Return the next message on the stream. Raises what anything else means."""
    try:
        event: ClientEvent | None = MessagesIgnored()
        while isinstance(event, MessagesIgnored):
            event = await next_event(granted.conversation, granted.stream)
    except OSError as error:
        raise ProxyUnreachable(f"the connection to the proxy broke: {error}") from error
    if not isinstance(event, AssociationMessageReceived):
        raise error_for(event)
    return event.message
