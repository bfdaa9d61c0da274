"""Serves one client connection after another over any byte stream: the engine without listeners."""

import asyncio
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Final

from socks6.errors import CertificateRefused, ConfigurationError, OperationFailed, TlsFailed
from socks6.message.codes import Command, Leg, ReplyCode
from socks6.message.options import TOS, find
from socks6.net.direct import DirectOutbound
from socks6.net.encryption.contexts import ALPN
from socks6.net.stackopts.received import received_tos
from socks6.net.stream import ByteStream, Connection, Outbound, carrier_socket_of
from socks6.net.transports.tls import TlsStream
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.authentication.none import NoAuthentication
from socks6.proxy.authentication.penalty import FailurePenalties
from socks6.proxy.commands.connect import connect
from socks6.proxy.fronts.base import Call, Front, Tunnel
from socks6.proxy.fronts.http import HttpFront, HttpSettings
from socks6.proxy.fronts.mixed import MixedFront
from socks6.proxy.fronts.socks5 import Socks5Front
from socks6.proxy.fronts.socks6 import Socks6Front
from socks6.proxy.participation import Participation, SessionDesk
from socks6.proxy.sessions import MemorySessionStore, Session, SessionStore
from socks6.proxy.settings import Settings
from socks6.relay.plane import RelayPlane, RelayResult
from socks6.telemetry import ConnectionSummary, Ending, NullObserver, Observer

SWEEP_SECONDS: Final = 0.25  # how exactly the handshake deadline is kept
LINGER_SECONDS: Final = 2.0  # what a refused client gets to read its answer
LINGER_BYTES: Final = 262_144
NEVER: Final = 3e8  # seconds, ten years: what loops' timers can still count
SOCKS6: Final = "socks6"
COMMAND_NAMES: Final = {command.value: command.name for command in Command}


def standard_fronts(settings: Settings) -> dict[str, Front]:
    """Return every front by its name."""
    socks6 = Socks6Front(
        dialects=settings.dialects, quiet=settings.quiet, ignore_fragmented=settings.ignore_fragmented
    )
    patience = HttpSettings(
        idle_timeout=settings.relay.idle_timeout or NEVER,
        fin_timeout=settings.relay.fin_timeout or NEVER,
        optimistic=settings.optimistic,
    )
    fronts: dict[str, Front] = {
        "socks6": socks6,
        "socks5": Socks5Front(optimistic=settings.optimistic),
        "http": HttpFront(patience),
    }
    return {**fronts, "mixed": MixedFront(fronts)}


class ServerWorker:
    """Serves clients over any byte stream (§ Mode of operation).

    `authenticator` knows the users, `policy` says what they may reach, `outbound` reaches it. One worker
    serves any number of streams at the same time. `sessions` keeps the clients' sessions, by default in memory.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        outbound: Outbound | None = None,
        settings: Settings | None = None,
        observer: Observer | None = None,
        fronts: Mapping[str, Front] | None = None,
        sessions: SessionStore | None = None,
    ) -> None:
        self.authenticator = authenticator or NoAuthentication()
        self.policy = policy or Policy()
        self.outbound: Final = outbound or DirectOutbound()
        self.settings: Final = settings or Settings()
        self.observer: Final = observer or NullObserver()
        self.penalties: Final = FailurePenalties()
        self.desk: Final = self._open_desk(sessions)
        self._fronts: Final = fronts or standard_fronts(self.settings)
        self._plane: Final = RelayPlane(self.settings.relay)
        self._ids: Final = itertools.count(1)
        self._handshakes: Final[dict[Visit, None]] = {}  # in order of their deadlines, all being equally long
        self._sweeping = False

    def front(self, name: str) -> Front:
        """Return a front by its name; raises ConfigurationError for an unknown one."""
        try:
            return self._fronts[name]
        except KeyError:
            raise ConfigurationError(f"no front {name!r}: one of {', '.join(self._fronts)}") from None

    def replace(self, *, authenticator: Authenticator, policy: Policy) -> None:
        """Have clients that come from now on meet these; who is here keeps those that he met.

        Sessions end where the new authenticator does not know their users, or not by the same password.
        """
        if self.desk is not None:
            self.desk.replace(authenticator)
        self.authenticator = authenticator
        self.policy = policy

    async def serve_stream(
        self, stream: ByteStream, front: str = "socks6", *, session: Session | None = None
    ) -> None:
        """Serve one client to the end and close its stream. Raises nothing that a client can cause.

        `session` is what the stream's requests belong to without naming it.
        """
        visit = Visit(self, stream, self.front(front), next(self._ids), session)
        self.observer.connection_opened(visit.id, visit.source)
        try:
            tunnel = await self._handshake(visit)
            if tunnel is None:
                await linger(stream)
            else:
                visit.relayed(await self._plane.relay(stream, tunnel.remote, first=tunnel.take_first()))
        except OSError as error:
            visit.broke(error)
        except asyncio.CancelledError:
            visit.ending = Ending.STOPPED
            if not visit.was_torn_down():
                raise
        except Exception as error:  # noqa: BLE001 - the one place that keeps a fault of ours to its connection
            visit.ending = Ending.ERROR
            self.observer.unexpected_error(f"connection {visit.id}", error)
        finally:
            stream.abort()
            visit.leave()
            self.observer.connection_ended(visit.summary())

    async def aclose(self) -> None:
        """Free what the connections share; to be called when none runs any more. Idempotent."""
        if self.desk is not None:
            self.desk.close()
        self._plane.close()
        await self.outbound.aclose()

    def _open_desk(self, store: SessionStore | None) -> SessionDesk | None:
        settings = self.settings.sessions
        if not settings.enabled:
            return None
        if store is None:
            store = MemorySessionStore(settings)
        return SessionDesk(store, settings, self.penalties, self.authenticator)

    async def _handshake(self, visit: "Visit") -> Tunnel | None:
        self._handshakes[visit] = None
        self._sweep_later()
        try:
            if isinstance(visit.stream, TlsStream):
                await visit.secure(visit.stream)
            return await visit.front.serve(visit.stream, b"", visit)
        finally:
            self._handshakes.pop(visit, None)

    def _sweep_later(self) -> None:
        """Have handshakes past their deadline ended: one timer for all, none while there are no handshakes."""
        if not self._sweeping and self._handshakes:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = asyncio.get_running_loop().time()
        late = list(itertools.takewhile(lambda visit: visit.deadline <= now, self._handshakes))
        for visit in late:
            del self._handshakes[visit]
            visit.expire()
        self._sweep_later()

    def request_arrived(self, visit: "Visit") -> None:
        """Stop the handshake's clock: the client has said what it wants."""
        self._handshakes.pop(visit, None)


class Visit:
    """One client connection: what its front may ask (Engine, Authenticator), and what the log will say."""

    __slots__ = (
        "_part", "bytes_down", "bytes_up", "certified", "command", "deadline", "ending", "front", "host", "id",
        "policy", "port", "reason", "reply", "session", "source", "started", "stream", "user", "users", "worker",
    )  # fmt: skip

    def __init__(
        self,
        worker: ServerWorker,
        stream: ByteStream,
        front: Front,
        number: int,
        session: Session | None = None,
    ) -> None:
        self.worker = worker
        self.session = session
        self._part: Participation | None = None
        self.users = worker.authenticator
        self.policy = worker.policy
        self.stream = stream
        self.front = front
        self.id = number
        self.source = stream.remote.host
        self.started = asyncio.get_running_loop().time()
        self.deadline = self.started + worker.settings.handshake_timeout
        self.certified: Identity | None = None  # whom the client's certificate names
        self.user = ""
        self.command = ""
        self.host = ""
        self.port = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.reply = -1
        self.ending = Ending.DONE
        self.reason = ""

    # What the front may ask.

    @property
    def authenticator(self) -> Authenticator:
        """Return this visit: it asks the worker's authenticator and keeps count."""
        return self

    @property
    def required(self) -> bool:
        """Return whether clients must authenticate: not those who have a certificate that does."""
        return self.users.required and self.certified is None

    @property
    def stranger(self) -> Identity:
        """Return who a client without credentials is."""
        return self.certified or ANONYMOUS

    async def verify(self, credentials: Credentials) -> Identity | None:
        """Ask the authenticator, unless this source has guessed too often of late; a certificate says it all."""
        if self.certified is not None:
            return self.certified
        penalties = self.worker.penalties
        now = asyncio.get_running_loop().time()
        if penalties.blocked(self.source, now):
            self.reason = "too many failed attempts"
            return None
        identity = await self.users.verify(credentials)
        if identity is None:
            penalties.failed(self.source, now)
        return identity

    def participate(self) -> Participation | None:
        """Return this connection's part in sessions, made when it is first asked for."""
        if self._part is None and self.worker.desk is not None:
            self._part = Participation(self.worker.desk, self.stream, self.users, self.session)
        return self._part

    def standing(self, identity: Identity) -> object:
        """Ask the authenticator."""
        return self.users.standing(identity)

    async def connect(self, call: Call) -> Connection:
        """Judge and carry out a CONNECT. Raises OperationFailed."""
        self.worker.request_arrived(self)
        self._note(call)
        try:
            connection = await connect(
                self._marked(call),
                policy=self.policy,
                outbound=self.worker.outbound,
                client=carrier_socket_of(self.stream),
            )
        except OperationFailed as failure:
            self.answered(call, failure.code, failure.reason)
            raise
        self.reply = 0
        self.bytes_up += connection.first_data_sent
        self.ending, self.reason = Ending.DONE, ""  # whatever befell an earlier call of the same client
        return connection

    def answered(self, call: Call, code: int, reason: str = "") -> None:
        """Note a call that has its answer."""
        self._note(call)
        self.reply = int(code)
        self.reason = reason
        if code:
            self.ending = Ending.REFUSED if code == ReplyCode.NOT_ALLOWED else Ending.FAILED

    def carried(self, bytes_up: int, bytes_down: int) -> None:
        """Count bytes of the stream."""
        self.bytes_up += bytes_up
        self.bytes_down += bytes_down

    def refused(self, ending: Ending, reason: str) -> None:
        """Note why the client was sent away without a call."""
        self.ending = ending
        self.reason = self.reason or reason

    # What befalls it.

    async def secure(self, stream: TlsStream) -> None:
        """Shake hands, and see who has come if certificates tell. Raises TlsFailed, OSError."""
        await stream.handshake()
        if self.front.name == SOCKS6 and stream.protocol != ALPN:
            raise TlsFailed(f"the client does not say that it speaks {ALPN} (ALPN)")
        if stream.wants_certificate:
            if not stream.certified_user:
                raise CertificateRefused("the client's certificate names no user")
            self.certified = Identity(name=stream.certified_user)

    def expire(self) -> None:
        """End a handshake that takes too long."""
        self.ending = Ending.NO_REQUEST
        self.reason = "the handshake took too long"
        self.stream.abort()

    def was_torn_down(self) -> bool:
        """Note, if it was so, that the visit was cancelled together with its session; return whether it was."""
        torn_down = self._part is not None and self._part.was_closed()
        if torn_down:
            self.reason = "its session was torn down"
        return torn_down

    def leave(self) -> None:
        """Belong to no session any more. Idempotent."""
        if self._part is not None:
            self._part.leave()

    def broke(self, error: OSError) -> None:
        """Note that the client's stream broke during the handshake, unless it was we who ended it."""
        if self.ending is Ending.DONE:
            self.ending = _ending_for(error)
            self.reason = str(error)

    def relayed(self, result: RelayResult) -> None:
        """Note how the relay went."""
        self.carried(result.bytes_up, result.bytes_down)
        self.ending = result.ending
        self.reason = result.reason

    def summary(self) -> ConnectionSummary:
        """Return what the log will say."""
        return ConnectionSummary(
            id=self.id,
            front=self.front.name,
            source=self.source or "unix",
            user=self.user,
            command=self.command,
            host=self.host,
            port=self.port,
            ending=self.ending,
            reply=self.reply,
            reason=self.reason,
            seconds=asyncio.get_running_loop().time() - self.started,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            session=self._part.note if self._part else "",
            token=self._part.token if self._part else "",
        )

    def _marked(self, call: Call) -> Call:
        """Return the call with the TOS that the client itself sends with, if that is to be copied."""
        raw = carrier_socket_of(self.stream)
        if not self.worker.settings.copy_tos or raw is None or find(call.options, TOS):
            return call
        tos = received_tos(raw)
        if tos is None:
            return call
        return dataclasses.replace(call, options=(*call.options, TOS(leg=Leg.BOTH, tos=tos)))

    def _note(self, call: Call) -> None:
        """Keep what the log will say of a call, not the call: its first data may be long."""
        self.user = call.identity.name
        self.command = COMMAND_NAMES.get(call.command, str(call.command))
        self.host = call.host
        self.port = call.port


def _ending_for(error: OSError) -> Ending:
    match error:
        case CertificateRefused():
            return Ending.UNAUTHENTICATED
        case TlsFailed():
            return Ending.MALFORMED
        case _:
            return Ending.RESET


async def linger(stream: ByteStream) -> None:
    """Close so that the client can read its answer: bytes still coming in would turn a close into a reset."""
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            await stream.send_eof()
            left = LINGER_BYTES
            while left > 0 and (data := await stream.receive(min(left, 65536))):
                left -= len(data)
            await stream.aclose()
    except (TimeoutError, OSError):
        stream.abort()
