"""What an inbound is: one protocol that clients speak, turned into calls upon the engine."""

from dataclasses import dataclass
from typing import Protocol

from socks6.message.options import StackOption
from socks6.net.stream import AcceptedPeer, Binding, ByteStream, ConnectResult, DatagramChannel, Endpoint
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.proxy.authentication.base import Verifier
from socks6.proxy.membership import SessionMembership
from socks6.proxy.sessions import Session
from socks6.relay.datagrams.association_relay import ClientPort, DatagramRelay
from socks6.telemetry import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a client asks for, whatever it speaks."""

    command: int  # socks6.message.codes.Command
    host: str
    port: int
    identity: Identity = ANONYMOUS
    options: tuple[StackOption, ...] = ()
    session: Session | None = None
    only_peer: str = ""  # BIND: nobody else may connect; empty for anybody
    stream_id: int | None = None  # BIND: by which a client tells the peers of one place from those of others
    first_data: bytes = (
        b""  # bytes of the stream that came along; `ConnectResult.first_data_sent` tells what went
    )


@dataclass(slots=True, kw_only=True)
class Tunnel:
    """Two streams to be joined: the inbound is done, the relay takes over."""

    remote: ByteStream
    first: bytes = b""  # what the remote gets first

    def take_first(self) -> bytes:
        """Return `first`, and forget it: no relay need hold 64 KiB for as long as it lives."""
        first, self.first = self.first, b""
        return first


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAssociation:
    """What came of an UDP ASSOCIATE; whoever has it closes the channel."""

    channel: DatagramChannel
    bound: Endpoint  # where remote hosts reach it, never an unspecified host
    options: tuple[StackOption, ...] = ()  # what is in force, on both legs
    near_options: tuple[StackOption, ...] = ()  # what the client's own UDP leg is to have


class Company(Protocol):
    """The other streams of a client's connection: where peers of a BIND may come."""

    def claim_bind(self, stream_id: int | None) -> None:
        """Have the peers of a BIND be told apart from others' by this id. Raises GeneralFailure if it is taken."""

    def leave_bind(self, stream_id: int | None) -> None:
        """Have an id free again."""

    async def push(self, accepted: AcceptedPeer, reply: bytes) -> None:
        """Give a peer a stream of its own, which begins with `reply`. Raises OSError when the connection is over."""


class Engine(Protocol):
    """What an inbound may ask of the proxy on behalf of one client connection."""

    @property
    def authenticator(self) -> Verifier:
        """Who knows the users."""

    @property
    def stranger(self) -> Identity:
        """Who a client is that offers no credentials: nobody, or whom its certificate names."""

    @property
    def deadline(self) -> float:
        """When the handshake must be over, on the loop's clock; the engine's owner enforces it."""

    @property
    def session(self) -> Session | None:
        """The session that every request on this connection belongs to, without an id; None if there is none."""

    @property
    def policy(self) -> Policy:
        """What clients may reach now; another object after a reload."""

    def stands(self, identity: Identity) -> bool:
        """Return whether a client that was let in on this connection would be now, after any reload."""

    def participate(self) -> SessionMembership | None:
        """Return this connection's part in sessions, always the same; None where there are no sessions."""

    def admitted(self, identity: Identity, session: Session | None) -> Session | None:
        """Note that a request was let in, `session` being its own; return the session that it belongs to."""

    async def wait_handshake_confirmed(self) -> None:
        """Wait until what the client sent is known to be no replay of what it sent before. Raises OSError."""

    @property
    def company(self) -> Company | None:
        """The connection that the client's stream is one of many of."""

    async def connect(self, call: Call) -> ConnectResult:
        """Judge and carry out a CONNECT. Raises OperationFailed, whose `code` is the reply to send."""

    async def bind(self, call: Call) -> Binding:
        """Judge and carry out a BIND; the host and port are the place. Raises OperationFailed.

        A call with a backlog may get a BacklogListener, to be run as long as the client stays.
        """

    def peer_came(self, peer: Endpoint) -> None:
        """Tell the log who connected to a place that was bound."""

    async def associate(self, call: Call) -> OpenedAssociation:
        """Judge and carry out an UDP ASSOCIATE, within the limits on them. Raises OperationFailed."""

    @property
    def datagrams(self) -> DatagramRelay:
        """What joins associations with their clients."""

    @property
    def client_port(self) -> ClientPort | None:
        """Where the client may send over UDP: beside where it reached the proxy; None: on its stream alone."""

    def answered(self, call: Call, code: int, reason: str = "") -> None:
        """Tell the log of a call that was answered with `code` without `connect`."""

    def carried(self, bytes_up: int, bytes_down: int) -> None:
        """Tell the log of bytes that the inbound itself carried, client to remote and back."""

    def refused(self, ending: Ending, reason: str) -> None:
        """Tell the log why a client without a call was sent away (MALFORMED, UNAUTHENTICATED, NO_REQUEST)."""


class Inbound(Protocol):
    """One protocol that clients speak. Has no state of its own: one object serves every connection."""

    @property
    def name(self) -> str:
        """The inbound's name in URLs and logs: socks6, socks5, http, mixed."""

    async def serve(self, stream: ByteStream, first: bytes, engine: Engine) -> Tunnel | None:
        """Carry out one client's handshake, `first` being bytes already read from `stream`.

        Returns the tunnel to relay, or None when all is done. Answers failures by itself. Raises OSError
        when the client's stream breaks; does not close `stream`.
        """
