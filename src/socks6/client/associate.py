"""Opens UDP associations: finds the path to the proxy that its datagrams can take, and has it confirmed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import Final, Literal, TypeAlias

from socks6.client.asking import Granted
from socks6.client.association import Association
from socks6.client.paths import DatagramPath, StreamPath, datagram_socket
from socks6.client.request import error_for
from socks6.errors import LocalProtocolError, ProxyUnreachable
from socks6.message.codes import Leg
from socks6.message.datagrams import AssociationConfirmation, AssociationInitialization, AssociationMessage
from socks6.message.dialect import DatagramLayout, Dialect
from socks6.message.options import StackOption, find_all
from socks6.message.requests import Request
from socks6.net.drive import next_event
from socks6.net.stackopts import prepare
from socks6.net.stream import Endpoint
from socks6.protocol.events import AssociationMessageReceived, ClientEvent

UDPPath: TypeAlias = Literal["datagram", "stream", "auto"]

# Seconds to wait for the confirmation before the opening datagram is sent again (§ Proxying UDP servers).
FIRST_WAITS: Final = (0.2, 0.4, 0.8, 1.6)  # after these, "auto" takes the stream
LATER_WAIT: Final = 3.0
BLOCKED_SECONDS: Final = 300.0  # for so long "auto" takes the stream at once, where UDP did not get through
END_SECONDS: Final = 2.0  # what the proxy gets to end an association that was not confirmed


Ask: TypeAlias = Callable[[Request], Awaitable[Granted]]


class Opener:
    """Opens associations at one proxy, by requests that `ask` makes; knows whether its UDP gets through."""

    def __init__(self, ask: Ask, dialect: Dialect, *, waits: tuple[float, ...] = FIRST_WAITS) -> None:
        self._ask = ask
        self._dialect = dialect
        self._waits = waits
        self._blocked_until = 0.0

    async def open(self, request: Request, *, udp: UDPPath, layout: DatagramLayout | None) -> Association:
        """Return a confirmed association. Raises as `Client.associate` does."""
        attempt = await self._begin(request, layout)
        over_stream = udp == "stream" or (udp == "auto" and self._blocked())
        try:
            if over_stream or not attempt.has_udp(required=udp == "datagram"):
                return await attempt.over_stream()
            if await attempt.over_udp(self._waits_for(udp)):
                return attempt.association
            if udp == "datagram":
                raise ProxyUnreachable("the proxy takes no datagrams: nobody is at its UDP port")
            await attempt.end()
        except BaseException:
            attempt.association.abort()
            raise
        self._blocked_until = asyncio.get_running_loop().time() + BLOCKED_SECONDS
        return await self.open(request, udp="stream", layout=layout)

    def _blocked(self) -> bool:
        return asyncio.get_running_loop().time() < self._blocked_until

    def _waits_for(self, udp: UDPPath) -> Iterator[float]:
        return iter(self._waits) if udp == "auto" else chain(self._waits, repeat(LATER_WAIT))

    async def _begin(self, request: Request, layout: DatagramLayout | None) -> "_Attempt":
        """Ask for an association, and wait for its id."""
        granted = await self._ask(request)
        try:
            message = await _next_message(granted)
            while not isinstance(message, AssociationInitialization):
                message = await _next_message(granted)
        except BaseException:
            granted.abort()
            raise
        association = Association(
            granted.stream,
            granted.conversation,
            association_id=message.association_id,
            bound=Endpoint(granted.reply.host, granted.reply.port),
            options=tuple(find_all(granted.reply.options, StackOption)),
            dialect=self._dialect,
            layout=layout or self._dialect.datagram_layout,
            hold=granted.hold,
        )
        near = tuple(
            option for option in find_all(request.options, StackOption) if option.leg & Leg.CLIENT_PROXY
        )
        return _Attempt(granted, association, message.association_id, near)


class _Attempt:
    """An association that is not confirmed yet."""

    def __init__(
        self, granted: Granted, association: Association, association_id: int, near: tuple[StackOption, ...]
    ) -> None:
        self.association = association
        self._granted = granted
        self._id = association_id
        self._near = near  # options about our leg
        self._limit: asyncio.Timeout | None = None
        self._refused = False
        self._path: DatagramPath | None = None

    def has_udp(self, *, required: bool) -> bool:
        """Return whether the proxy can be sent datagrams; raises LocalProtocolError if it must and cannot."""
        try:
            sock = datagram_socket(self._granted.stream)
        except OSError as error:
            raise ProxyUnreachable(f"no UDP socket to the proxy: {error}") from error
        if sock is None:
            if required:
                raise LocalProtocolError('there is no UDP beside this way to the proxy: use udp="stream"')
            return False
        prepare(sock, self._near, Leg.CLIENT_PROXY)
        self._path = DatagramPath(sock, take=self.association.take, refused=self._on_refused)
        self.association.travel(self._path)
        return True

    async def over_udp(self, waits: Iterator[float]) -> bool:
        """Send the opening datagram again and again; return whether the association was confirmed meanwhile."""
        opening = self.association.opening()
        for seconds in waits:
            with contextlib.suppress(OSError):  # whatever the network has against it may pass
                self.association.send_message(opening)
            if await self._confirmed_within(seconds):
                return True
            if self._refused:
                return False
        return False

    async def over_stream(self) -> Association:
        """Return the association, confirmed to travel on the stream."""
        path = StreamPath(self._granted.stream)
        self.association.travel(path)
        try:
            await self._granted.stream.send(self.association.opening())
        except OSError as error:
            raise ProxyUnreachable(f"the connection to the proxy broke: {error}") from error
        await self._confirmed()
        return self.association

    async def end(self) -> None:
        """End the association at the proxy too, so that its port is free again."""
        stream = self._granted.stream
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(END_SECONDS):
                await stream.send_eof()
                while await stream.receive():
                    pass
        self.association.abort()

    async def _confirmed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limit = limit
                await self._confirmed()
        except TimeoutError:
            if limit.expired():
                return False
            raise
        finally:
            self._limit = None
        return True

    async def _confirmed(self) -> None:
        """Wait for the confirmation; what else comes is the association's."""
        while True:
            message = await _next_message(self._granted)
            if isinstance(message, AssociationConfirmation) and message.association_id == self._id:
                return
            self.association.take_message(message)

    def _on_refused(self) -> None:
        """Wait no longer: an ICMP error says that nobody is at the proxy's UDP port."""
        self._refused = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())


async def _next_message(granted: Granted) -> AssociationMessage:
    """Return the next message on the stream. Raises what anything else means."""
    try:
        event: ClientEvent | None = await next_event(granted.conversation, granted.stream)
    except OSError as error:
        raise ProxyUnreachable(f"the connection to the proxy broke: {error}") from error
    if not isinstance(event, AssociationMessageReceived):
        raise error_for(event)
    return event.message
