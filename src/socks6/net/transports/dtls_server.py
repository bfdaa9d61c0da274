"""The server's side of DTLS: any number of clients on one port, and no state for one that has not returned its cookie."""

import asyncio
import hashlib
import hmac
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, field
from typing import Final, TypeAlias

from socks6.dataclass import dataclass
from socks6.net.accept import ConnectionLimits
from socks6.net.datagrams.packet_info import Control
from socks6.net.datagrams.shared import Arrival, SharedPort
from socks6.net.stream import SocketAddress
from socks6.net.transports.dtls import (
    HANDSHAKE,
    MAX_RECORD_BYTES,
    ClientHello,
    DtlsConversation,
    hello_verify_request,
    is_clear,
    read_client_hello,
)
from socks6.net.transports.dtls_contexts import DtlsContexts

HANDSHAKE_SECONDS: Final = 30.0  # lost flights are sent again after 1, 2, 4, ... seconds
UNUSED_SECONDS: Final = 30.0  # without an association: clients open one right after the handshake
COOKIE_SECONDS: Final = 60.0  # seconds; a cookie is good for at least so long, at most for twice that
SECRET_BYTES: Final = 32


class Cookies:
    """Makes and verifies cookies without state for each client: two secrets are all there is."""

    def __init__(self, now: float, *, new_secret: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._new_secret = new_secret
        self._secret = self._last = new_secret(SECRET_BYTES)
        self._since = now

    def make(self, source: SocketAddress, random: bytes, now: float) -> bytes:
        """Return the cookie for a source's ClientHello, which keeps its random when it comes again."""
        self._renew(now)
        return _cookie(self._secret, source, random)

    def holds(self, cookie: bytes, source: SocketAddress, random: bytes, now: float) -> bool:
        """Return whether a cookie was made for this source and random of late."""
        if not cookie:
            return False
        self._renew(now)
        return any(
            hmac.compare_digest(cookie, _cookie(secret, source, random))
            for secret in (self._secret, self._last)
        )

    def _renew(self, now: float) -> None:
        age = now - self._since
        if age >= COOKIE_SECONDS:
            self._last = self._secret if age < 2 * COOKIE_SECONDS else self._new_secret(SECRET_BYTES)
            self._secret = self._new_secret(SECRET_BYTES)
            self._since = now


def _cookie(secret: bytes, source: SocketAddress, random: bytes) -> bytes:
    return hmac.digest(secret, repr(source).encode() + random, hashlib.sha256)


AddressPair: TypeAlias = tuple[SocketAddress, bytes]  # where a client sends from, and to
OnLost: TypeAlias = Callable[[str], None]
OnRefused: TypeAlias = Callable[[str, str], None]
"""Called with a client's address and why it gets no connection."""


@dataclass(slots=True, eq=False)
class DtlsPeer:
    """A client's DTLS connection: the path of associations, however many datagrams it carries."""

    _server: "DtlsServer"
    addresses: AddressPair
    random: bytes
    conversation: DtlsConversation
    started: float
    ended: bool = False
    user: str = ""  # whom its certificate names
    timer: asyncio.TimerHandle | None = None  # of its handshake, then of being of no use
    successor: "DtlsPeer | None" = None  # shaking hands with the same addresses
    shares_stream: bool = field(init=False, default=False)  # see `ClientPath`
    port: socket.socket = field(init=False)
    source: SocketAddress = field(init=False)
    local: bytes = field(init=False)
    _lost: list[OnLost] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = self._server.port.sock
        self.source, self.local = self.addresses

    @property
    def joined(self) -> bool:
        """Whether an association lives by it."""
        return bool(self._lost)

    def send(self, message: bytes, control: Control) -> bool:
        if len(message) > MAX_RECORD_BYTES:
            return False
        encrypted = self.conversation.encrypt(message)
        return bool(encrypted) and self._server.port.send(encrypted, self.addresses[0], control=control)

    def join(self, user: str, lost: OnLost) -> bool:
        if self.ended or user != self.user:
            return False
        self._lost.append(lost)
        self._server.in_use(self)
        return True

    def leave(self, lost: OnLost) -> None:
        if lost in self._lost:
            self._lost.remove(lost)
            if not self.joined and not self.ended:
                self._server.wait_for_use(self)

    def give_way(self) -> None:
        """End, for others."""
        self._server.end(self, "evicted: there are too many DTLS connections")

    def tell_lost(self, reason: str) -> None:
        """Notify the associations that the connection is lost."""
        lost, self._lost = self._lost, []
        for callback in lost:
            callback(reason)


@dataclass(slots=True, eq=False)
class DtlsServer:
    """Serves DTLS on a port that it shares. To be made within the loop.

    `deliver` gets the data of connected clients; `limits` are of connections, begun ones too.
    """

    port: SharedPort
    contexts: DtlsContexts
    _: KW_ONLY
    deliver: Callable[[DtlsPeer, bytes], None]
    limits: ConnectionLimits
    refused: OnRefused = lambda _source, _reason: None
    wants_certificate: bool = False
    dropped: int = 0  # datagrams that belong to no connection and begin none
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _cookies: "Cookies" = field(init=False)
    _peers: dict[AddressPair, DtlsPeer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cookies = Cookies(self._loop.time())

    def datagrams_received(self, arrivals: Sequence[Arrival]) -> None:
        """Take what came in one turn."""
        now = self._loop.time()
        for data, source, local, _ in arrivals:
            addresses = source, local
            peer = self._peers.get(addresses)
            if peer is None:
                self._meet(addresses, data, now)
            elif data[0] == HANDSHAKE and is_clear(data):
                self._shake_hands(peer, data, now)
            else:
                successor = peer.successor  # only the keys distinguish what is for which of the two
                if not self._feed(peer, data, now) and successor is not None and not successor.ended:
                    self._feed(successor, data, now)

    def wait_for_use(self, peer: DtlsPeer) -> None:
        """End a connection if no association uses it soon, or sooner if slots are short."""
        self.limits.mark_unknown(peer, peer.give_way)
        self._set_timer(peer, self._loop.time() + UNUSED_SECONDS)

    def in_use(self, peer: DtlsPeer) -> None:
        """Mark a connection as used by an association, and so by an admitted client."""
        self.limits.mark_known(peer)

    def end(self, peer: DtlsPeer, reason: str) -> None:
        """End a connection. Idempotent."""
        if peer.ended:
            return
        peer.ended = True
        peer.conversation.close()
        self._flush(peer)
        self._forget(peer)
        peer.tell_lost(reason)

    def close(self) -> None:
        """End all connections; the port is its owner's. Idempotent."""
        for peer in tuple(self._peers.values()):
            if peer.successor is not None:
                self.end(peer.successor, "the server stopped")
            self.end(peer, "the server stopped")

    def _meet(self, addresses: AddressPair, data: bytes, now: float) -> None:
        """Answer an unknown client: with a cookie, or a connection if it has one."""
        hello = read_client_hello(data)
        if hello is None:
            self.dropped += 1
        elif not self._cookies.holds(hello.cookie, addresses[0], hello.random, now):
            cookie = self._cookies.make(addresses[0], hello.random, now)
            self.port.send(hello_verify_request(hello, cookie), *addresses)
        else:
            self._begin(addresses, hello, data, now)

    def _begin(self, addresses: AddressPair, hello: ClientHello, data: bytes, now: float) -> None:
        """Begin a connection; an earlier one stays until the new handshake is done (§4.2.8)."""
        conversation = DtlsConversation.answering(self.contexts.current(), data)
        peer = DtlsPeer(self, addresses, hello.random, conversation, now)
        refusal = self.limits.admit(peer, addresses[0][0], peer.give_way)
        if refusal:
            self.refused(addresses[0][0], refusal)
            return
        known = self._peers.setdefault(addresses, peer)
        if known is not peer:
            if known.successor is not None:
                self.end(known.successor, "its client began anew")
            known.successor = peer
        self._went_on(peer, now)

    def _shake_hands(self, peer: DtlsPeer, data: bytes, now: float) -> None:
        """Take a datagram with messages of a handshake, in clear, from where a client is known."""
        hello = read_client_hello(data)
        successor = peer.successor
        if hello is None:
            self._feed(successor or peer, data, now)
        elif successor is not None and hello.random == successor.random:
            self._feed(successor, data, now)
        elif hello.random != peer.random:
            self._meet(peer.addresses, data, now)
        else:
            self._feed(peer, data, now)

    def _feed(self, peer: DtlsPeer, data: bytes, now: float) -> bool:
        """Give a datagram to a conversation; return whether there was data in it."""
        conversation = peer.conversation
        was_established = conversation.established
        messages = conversation.receive(data)
        if conversation.has_output or conversation.over or not was_established:
            self._went_on(peer, now, settled=was_established)
        if not peer.ended or conversation.failure is None:
            for message in messages:
                self.deliver(peer, message)
        return bool(messages)

    def _went_on(self, peer: DtlsPeer, now: float, *, settled: bool = False) -> None:
        conversation = peer.conversation
        self._flush(peer)
        if conversation.failure is not None:
            if not settled:
                self.refused(peer.source[0], str(conversation.failure))
            self.end(peer, str(conversation.failure))
        elif conversation.over:
            self.end(peer, "its client ended the DTLS connection")
        elif not settled and conversation.established:
            self._settle(peer)
        elif not settled:
            limit = peer.started + HANDSHAKE_SECONDS
            again = conversation.next_timeout()
            self._set_timer(peer, limit if again is None else min(limit, now + again))

    def _settle(self, peer: DtlsPeer) -> None:
        """Adopt a connection whose handshake is done; it replaces the one with the same addresses."""
        if self.wants_certificate:
            peer.user = peer.conversation.certified_user
            if not peer.user:
                self.refused(peer.source[0], "the client's certificate names no user")
                self.end(peer, "no user")
                return
        known = self._peers.get(peer.addresses)
        if known is not None and known is not peer:
            known.successor = None
            self.end(known, "its client began a new DTLS connection")
        self._peers[peer.addresses] = peer
        self.wait_for_use(peer)

    def _set_timer(self, peer: DtlsPeer, when: float) -> None:
        if peer.timer is not None:
            peer.timer.cancel()
        peer.timer = self._loop.call_at(when, self._overdue, peer)

    def _overdue(self, peer: DtlsPeer) -> None:
        now = self._loop.time()
        if peer.conversation.established:
            if not peer.joined:
                self.end(peer, "idle")
        elif now >= peer.started + HANDSHAKE_SECONDS:
            self.end(peer, "the DTLS handshake took too long")
        else:
            peer.conversation.handle_timeout()
            self._went_on(peer, now)

    def _flush(self, peer: DtlsPeer) -> None:
        if peer.conversation.has_output:
            for datagram in peer.conversation.datagrams_to_send():
                self.port.send(datagram, *peer.addresses)

    def _forget(self, peer: DtlsPeer) -> None:
        if peer.timer is not None:
            peer.timer.cancel()
        self.limits.release(peer)
        known = self._peers.get(peer.addresses)
        if known is peer:
            del self._peers[peer.addresses]
            if peer.successor is not None:
                self._peers[peer.addresses] = peer.successor
        elif known is not None and known.successor is peer:
            known.successor = None
