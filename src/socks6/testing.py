"""A proxy for other people's test suites, with faults on demand: a pytest fixture, and a context manager.

In conftest.py: `pytest_plugins = ["socks6.testing"]`. Then

::

    def test_my_client_tries_again(socks6_proxy: RunningProxy) -> None:
        socks6_proxy.hosts["api.example"] = ("127.0.0.1", port_of_my_server)
        socks6_proxy.faults = Faults(refuse=ReplyCode.CONNECTION_REFUSED)
        with pytest.raises(MyError):
            my_client(socks6_proxy.url).get("http://api.example/")
        assert socks6_proxy.requests[0].host == "api.example"
"""

import asyncio
import errno
import hmac
import ssl
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

try:
    import pytest
except ImportError as error:
    raise ImportError("socks6.testing needs pytest: pip install pytest", name="pytest") from error

from socks6.client.stream import ProxiedStream
from socks6.compat import override
from socks6.dataclass import dataclass
from socks6.errors import operation_failure
from socks6.message.codes import Command, ReplyCode
from socks6.message.options import StackOption
from socks6.net.direct import DirectOutbound
from socks6.net.encryption.certificates import format_pin, pin_of
from socks6.net.encryption.issue import make_certificate
from socks6.net.stream import AttributeT, ByteStream, ConnectResult, Endpoint, Judge
from socks6.policy.identity import ANONYMOUS, Identity
from socks6.policy.rules import Policy
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import Authenticator
from socks6.proxy.commands import ProxyRequest
from socks6.proxy.live import ConnectionInfo
from socks6.proxy.service import Server
from socks6.proxy.settings import Settings
from socks6.proxy.worker import ServerWorker
from socks6.sync.loop_thread import loop_thread
from socks6.telemetry import Event, Observer

__all__ = ["Faults", "ReplyCode", "RunningProxy", "SeenRequest", "running_proxy", "socks6_proxy"]

HOST: Final = "127.0.0.1"
USERS: Final[Mapping[str, str]] = {"user": "password"}
PATIENCE_SECONDS: Final = 3600.0  # for clients and delays: the end of the test comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong with a request. The default is nothing."""

    refuse: int | None = None  # the reply code: one of ReplyCode
    delay: float = 0.0  # seconds before the answer
    silent: bool = False  # there is no answer
    cut_after: int | None = (
        None  # so many bytes of the remote host reach the client, then the connection ends
    )
    reset: bool = True  # it ends by a reset; else in order, as if that were all


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """A CONNECT, BIND or UDP ASSOCIATE as it came."""

    command: str  # "CONNECT"
    host: str
    port: int
    user: str  # "" without a password
    protocol: str  # "socks6", "socks5", "http"
    initial_data: bytes


class RunningProxy:
    """A proxy within this process, in a thread of its own. It resolves and reaches everything, faults aside.

    All but the URLs may be changed at any time, and counts for the next request.
    """

    def __init__(self, users: Mapping[str, str], stack: ExitStack) -> None:
        self.users: Final = dict(users)  # names and passwords; without any, nobody is asked for one
        self.hosts: Final[
            dict[str, tuple[str, int]]
        ] = {}  # where CONNECTs to a name lead, instead of to that host
        self.faults = Faults()
        self.faults_of: Final[dict[str, Faults]] = {}  # by the name of the host, instead of `faults`
        self.refuse_passwords = False  # as if they were wrong
        self.requests: Final[list[SeenRequest]] = []
        self.events: Final[list[Event]] = []  # all that happened: `socks6.telemetry`
        self._stack = stack
        self._place = self._listen("mixed", "").rpartition("/")[2]

    @property
    def url(self) -> str:
        """socks6://USER:PASSWORD@HOST:PORT, of the first of the users."""
        return self.url_of("socks6")

    def url_of(self, scheme: str) -> str:
        """Return the URL with another scheme that the port speaks: socks5h, socks5, http, or socks4a if there are no users."""
        return f"{scheme}://{self._user}{self._place}"

    @cached_property
    def tls_url(self) -> str:
        """socks6+tls://..., with the pin of a certificate that is made when this is first asked for."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        make_certificate([HOST], certificate=certificate, key=key, now=datetime.now(UTC))
        place = self._listen("socks6+tls", f"?cert={certificate}&key={key}").rpartition("/")[2]
        pin = format_pin(pin_of(ssl.PEM_cert_to_DER_cert(certificate.read_text())))
        return f"socks6+tls://{self._user}{place}?pin-sha256={pin}"

    def reset(self) -> None:
        """Undo all faults, and forget what was seen."""
        self.faults = Faults()
        self.faults_of.clear()
        self.refuse_passwords = False
        self.requests.clear()
        self.events.clear()

    @property
    def _user(self) -> str:
        return next((f"{name}:{password}@" for name, password in self.users.items()), "")

    def _listen(self, scheme: str, query: str) -> str:
        worker = ServerWorker(
            authenticator=_Users(self),
            judge_request=self._judge,
            outbound=_FaultyOutbound(self),
            policy=Policy(allow_private=True),
            settings=Settings(handshake_timeout=PATIENCE_SECONDS, drain_timeout=0.0),
            observers=[_Recorder(self.events)],
        )
        server = Server([f"{scheme}://{HOST}:0{query}"], worker)
        return self._stack.enter_context(loop_thread().held(server)).urls[0]

    def faults_for(self, host: str) -> Faults:
        """Return what goes wrong with a request for this host."""
        return self.faults_of.get(host, self.faults)

    async def _judge(self, request: ProxyRequest, client: ConnectionInfo) -> None:
        faults = self.faults_for(request.host)
        self.requests.append(
            SeenRequest(
                command=Command(request.command).name,
                host=request.host,
                port=request.port,
                user=client.user,
                protocol=client.inbound,
                initial_data=request.initial_data,
            )
        )
        await asyncio.sleep(PATIENCE_SECONDS if faults.silent else faults.delay)
        if faults.refuse is not None:
            raise operation_failure(faults.refuse, "as the test wants it")


def running_proxy(users: Mapping[str, str] = USERS) -> AbstractContextManager[RunningProxy]:
    """Run a proxy for the time of a block; `users` are names and passwords, of which the first stands in its URLs."""
    return _running(users)


@contextmanager
def _running(users: Mapping[str, str]) -> Iterator[RunningProxy]:
    with ExitStack() as stack:
        yield RunningProxy(users, stack)


@pytest.fixture
def socks6_proxy() -> Iterator[RunningProxy]:
    """Run a proxy for a test: `RunningProxy`."""
    with running_proxy() as proxy:
        yield proxy


class _Users(Authenticator):
    def __init__(self, proxy: RunningProxy) -> None:
        self._proxy = proxy

    @property
    @override
    def required(self) -> bool:
        return bool(self._proxy.users)

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        if not self._proxy.users:
            return ANONYMOUS
        if self._proxy.refuse_passwords or not isinstance(credentials, UsernamePasswordCredentials):
            return None
        name = credentials.username.decode(errors="replace")
        password = self._proxy.users.get(name)
        right = password is not None and hmac.compare_digest(password.encode(), credentials.password)
        return Identity(name=name) if right else None

    @override
    def credential_version(self, identity: Identity) -> object:
        return self._proxy.users.get(identity.name)


class _FaultyOutbound(DirectOutbound):
    def __init__(self, proxy: RunningProxy) -> None:
        super().__init__()
        self._proxy = proxy

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        judge: Judge,
        options: tuple[StackOption, ...] = (),
        first_data: bytes = b"",
        holder: Hashable = None,
    ) -> ConnectResult:
        there = self._proxy.hosts.get(host, (host, port))
        connected = await super().connect(
            *there, judge=judge, options=options, first_data=first_data, holder=holder
        )
        faults = self._proxy.faults_for(host)
        if faults.cut_after is None:
            return connected
        cut = _CutStream(connected.stream, connected.bound, faults.cut_after, reset=faults.reset)
        return ConnectResult(
            stream=cut,
            bound=connected.bound,
            options=connected.options,
            first_data_sent=connected.first_data_sent,
        )


class _CutStream(ProxiedStream):
    """A stream that ends after so many bytes, or breaks."""

    def __init__(self, stream: ByteStream, bound: Endpoint, left: int, *, reset: bool) -> None:
        super().__init__(stream, bound, ())
        self._left = left
        self._reset = reset

    @property
    @override
    def raw_socket(self) -> None:
        """None: the kernel would pass everything on."""
        return

    @override
    def attribute(self, kind: type[AttributeT]) -> AttributeT | None:
        return None

    @override
    def receive_nowait(self, max_bytes: int) -> bytes | None:
        data = super().receive_nowait(min(max_bytes, self._left)) if self._goes_on() else b""
        self._left -= len(data or b"")
        return data

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await super().receive(min(max_bytes, self._left)) if self._goes_on() else b""
        self._left -= len(data)
        return data

    def _goes_on(self) -> bool:
        if self._left <= 0 and self._reset:
            raise ConnectionResetError(errno.ECONNRESET, "cut as the test wants it")
        return self._left > 0


class _Recorder(Observer):
    def __init__(self, events: list[Event]) -> None:
        self._events = events

    @override
    def observe(self, event: Event) -> None:
        self._events.append(event)
