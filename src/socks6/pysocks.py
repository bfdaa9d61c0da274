"""PySocks' names and call shapes, over this library: `import socks6.pysocks as socks`.

::

    import socks6.pysocks as socks

    sock = socks.socksocket()
    sock.set_proxy(socks.SOCKS6, "socks6+tls://alice:secret@far.example")
    sock.connect(("example.com", 80))

For code that is written for PySocks; new code takes `socks6.sync.Client`. Beside its types of proxies there is SOCKS6, and where an
address of a proxy is expected, its whole URL may stand instead, whatever the type. docs/tutorial/from-pysocks.md says what differs.
"""

import contextlib
import functools
import socket
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from socks6.client.client import Timeout
from socks6.client.sockets import ProxiedSocket
from socks6.compat import override
from socks6.errors import (
    AuthenticationFailed,
    OperationFailed,
    ProxyUnreachable,
    Socks6Error,
)
from socks6.sync.client import Association, Client
from socks6.sync.loop_thread import loop_thread

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PROXY_TYPE_SOCKS4: Final = 1
PROXY_TYPE_SOCKS5: Final = 2
PROXY_TYPE_HTTP: Final = 3
PROXY_TYPE_SOCKS6: Final = 6
SOCKS4, SOCKS5, HTTP, SOCKS6 = PROXY_TYPE_SOCKS4, PROXY_TYPE_SOCKS5, PROXY_TYPE_HTTP, PROXY_TYPE_SOCKS6
PROXY_TYPES: Final = {"SOCKS4": SOCKS4, "SOCKS5": SOCKS5, "HTTP": HTTP, "SOCKS6": SOCKS6}
PRINTABLE_PROXY_TYPES: Final = {number: name for name, number in PROXY_TYPES.items()}
DEFAULT_PORTS: Final = {SOCKS4: 1080, SOCKS5: 1080, HTTP: 8080, SOCKS6: 1080}
SCHEMES: Final = {SOCKS4: "socks4a", SOCKS5: "socks5h", HTTP: "http", SOCKS6: "socks6"}
LOCAL_SCHEMES: Final = {SOCKS4: "socks4", SOCKS5: "socks5"}  # without rdns: names are resolved here
PLAIN_SOCKET: Final = socket.socket  # users may replace it
MAX_CLIENTS: Final = 64  # proxies whose clients are kept for the next connection

Address: TypeAlias = tuple[str, int]


class ProxyError(OSError):
    """The root of this module's exceptions; `socket_err` is this library's own exception, and `errno` its number."""

    def __init__(self, msg: str, socket_err: BaseException | None = None) -> None:
        why = getattr(socket_err, "reason", "") or socket_err
        self.msg = f"{msg}: {why}" if why else msg
        self.socket_err = socket_err
        super().__init__(self.msg)
        self.errno = getattr(socket_err, "errno", None)

    @override
    def __str__(self) -> str:
        return self.msg


class GeneralProxyError(ProxyError):
    """Anything else: an impossible proxy, or one that breaks the protocol."""


class ProxyConnectionError(ProxyError):
    """The proxy cannot be reached, or does not answer in time."""


class SOCKS5AuthError(ProxyError):
    """The proxy refused the credentials, whatever it speaks."""


class SOCKS5Error(ProxyError):
    """A SOCKS 5 proxy could not do what it was asked for."""


class SOCKS6Error(SOCKS5Error):
    """A SOCKS 6 proxy could not; code for SOCKS 5 catches it, too."""


class SOCKS4Error(ProxyError):
    """A SOCKS 4 proxy could not."""


class HTTPError(ProxyError):
    """An HTTP proxy could not."""


OPERATION_ERRORS: Final[dict[int, type[ProxyError]]] = {
    SOCKS4: SOCKS4Error,
    SOCKS5: SOCKS5Error,
    HTTP: HTTPError,
    SOCKS6: SOCKS6Error,
}


class Proxy(NamedTuple):
    """What `set_proxy` was given."""

    proxy_type: int | None = None
    addr: str | None = None
    port: int | None = None
    rdns: bool = True
    username: str | bytes | None = None
    password: str | bytes | None = None

    @property
    def url(self) -> str:
        """The proxy's URL. Raises GeneralProxyError for a type that there is not."""
        addr, kind = self.addr or "", self.proxy_type
        if "://" in addr:
            return addr
        if kind not in SCHEMES or not addr:
            raise GeneralProxyError("Invalid proxy type" if addr else "No address of a proxy")
        scheme = SCHEMES[kind] if self.rdns else LOCAL_SCHEMES.get(kind, SCHEMES[kind])
        user = ""
        if self.username:
            has_password = self.password and kind != SOCKS4  # which has none
            password = f":{quote(self.password or '', safe='')}" if has_password else ""
            user = f"{quote(self.username, safe='')}{password}@"
        host = f"[{addr}]" if ":" in addr and not addr.startswith("[") else addr
        query = "?resolve=local" if not self.rdns and kind in {SOCKS5, HTTP} else ""
        return f"{scheme}://{user}{host}:{self.port or DEFAULT_PORTS[kind]}{query}"


class socksocket(ProxiedSocket):  # noqa: N801 - PySocks' name
    """A socket that connects through a proxy once it has one, from `set_proxy` or `set_default_proxy`; else any other socket.

    A stream socket connects by CONNECT; a datagram socket sends and receives by UDP ASSOCIATE, and cannot be polled.
    """

    default_proxy: Proxy | None = None
    _is_tcp = True

    def __init__(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,  # noqa: A002 - as socket.socket has it
        proto: int = 0,
        fileno: int | None = None,
    ) -> None:
        """Make one, as `socket.socket` does."""
        super().__init__(family, type, proto, fileno)
        self.proxy = self.default_proxy or Proxy()
        self.proxy_sockname: Address | None = None
        self.proxy_peername: Address | None = None
        self._options: list[tuple[Any, ...]] = []
        self._association: Association | None = None

    def set_proxy(  # noqa: PLR0917 - as PySocks has it
        self,
        proxy_type: int | None = None,
        addr: str | None = None,
        port: int | None = None,
        rdns: bool = True,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        """Set the proxy to connect through; None as its type is none. `addr` may be the proxy's URL."""
        self.proxy = Proxy(proxy_type, addr, port, rdns, username, password)

    def setproxy(self, *arguments: Any, **named: Any) -> None:
        """As `set_proxy`, with the first argument also by the name of `proxytype`."""
        self.set_proxy(*arguments, **_renamed(named))

    @override
    def connect(self, dest_pair: Any) -> None:
        """Connect to a host and port, through the proxy if there is one. Raises ProxyError, and OSError without a proxy."""
        if not self._proxied:
            super().connect(dest_pair)
            return
        host, port = dest_pair[:2]
        self.proxy_peername = (host, port)
        if self.type == socket.SOCK_DGRAM:
            return
        with _translated(self.proxy):
            made = _client_of(self.proxy.url).connect(host.strip("[]"), port, timeout=self._seconds)
        with made:
            self.proxy_sockname = self._become(made)
        for option in self._options:
            with contextlib.suppress(OSError):
                super().setsockopt(*option)

    @override
    def connect_ex(self, dest_pair: Any) -> int:
        """As `connect`, but return the number of an error that has one."""
        try:
            self.connect(dest_pair)
        except OSError as error:
            if not error.errno:
                raise
            return error.errno
        return 0

    @override
    def setsockopt(self, *arguments: Any) -> None:
        self._options.append(arguments)  # once more for the connection
        super().setsockopt(*arguments)

    @override
    def bind(self, address: Any) -> None:
        """Bind, without a proxy; with one, a datagram socket gets a port at the proxy, and a stream socket nothing."""
        if not self._proxied:
            super().bind(address)
        elif self.type == socket.SOCK_DGRAM:
            self._associate()

    @override
    def sendto(self, data: "ReadableBuffer", *arguments: Any) -> int:
        """Send a datagram, through the proxy if there is one."""
        if not self._is_association:
            return super().sendto(data, *arguments)
        body = bytes(data)
        with _translated(self.proxy):
            self._associate().send(body, arguments[-1])
        return len(body)

    @override
    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        """Send what there is room for, or a datagram to where the socket was connected."""
        if not self._is_association:
            return super().send(data, flags)
        if self.proxy_peername is None:
            raise GeneralProxyError("Not connected")
        return self.sendto(data, self.proxy_peername)

    @override
    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Return data and where it came from."""
        if not self._is_association:
            return super().recvfrom(bufsize, flags)
        with _translated(self.proxy):
            data, source = self._associate().receive(timeout=self.gettimeout())
        return data[:bufsize], tuple(source)

    @override
    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return data."""
        return self.recvfrom(bufsize, flags)[0] if self._is_association else super().recv(bufsize, flags)

    @override
    def close(self) -> None:
        """Close, and give the port at the proxy back."""
        association, self._association = self._association, None
        if association is not None:
            association.close()
        super().close()

    @override
    def getpeername(self) -> Any:
        """Return the destination; without a proxy, the peer."""
        return self.proxy_peername or PLAIN_SOCKET.getpeername(self)

    @override
    def getsockname(self) -> Any:
        """Return this machine's end of the connection; "" where that is within TLS or QUIC."""
        return PLAIN_SOCKET.getsockname(self)

    get_peername = getpeername

    def get_proxy_sockname(self) -> Address | None:
        """Return the address at the proxy by which the destination sees this socket."""
        return self.proxy_sockname

    def get_proxy_peername(self) -> Any:
        """Return the address of the proxy; "" where the connection to it is within TLS or QUIC."""
        return PLAIN_SOCKET.getpeername(self)

    getproxysockname = get_proxy_sockname
    getproxypeername = get_proxy_peername

    @property
    def _proxied(self) -> bool:
        """Whether a proxy is to be used; never for this library's own sockets, where `socket.socket` was replaced."""
        kinds = self.family in {socket.AF_INET, socket.AF_INET6} and self.type in {
            socket.SOCK_STREAM,
            socket.SOCK_DGRAM,
        }
        return self.proxy.proxy_type is not None and kinds and not loop_thread().is_current

    @property
    def _is_association(self) -> bool:
        return self.type == socket.SOCK_DGRAM and self._proxied

    @property
    def _seconds(self) -> Timeout:
        """How long connecting may take: as the socket's time-out says, where it has one."""
        return self.gettimeout() or "client"

    def _associate(self) -> Association:
        if self._association is None:
            with _translated(self.proxy):
                self._association = _client_of(self.proxy.url).open_association(timeout=self._seconds)
            bound = self._association.bound
            self.proxy_sockname = (bound.host, bound.port)
        return self._association


def set_default_proxy(  # noqa: PLR0917 - as PySocks has it
    proxy_type: int | None = None,
    addr: str | None = None,
    port: int | None = None,
    rdns: bool = True,
    username: str | None = None,
    password: str | None = None,
) -> None:
    """Set the proxy of every socket that is made from now on; see `socksocket.set_proxy`."""
    socksocket.default_proxy = Proxy(proxy_type, addr, port, rdns, username, password)


def setdefaultproxy(*arguments: Any, **named: Any) -> None:
    """As `set_default_proxy`, with the first argument also by the name of `proxytype`."""
    set_default_proxy(*arguments, **_renamed(named))


def get_default_proxy() -> Proxy | None:
    """Return what `set_default_proxy` was given."""
    return socksocket.default_proxy


def wrap_module(module: ModuleType) -> None:
    """Have a module that does `import socket` go through the default proxy. Raises GeneralProxyError without one."""
    if socksocket.default_proxy is None:
        raise GeneralProxyError("No default proxy specified")
    module.socket.socket = socksocket


getdefaultproxy = get_default_proxy
wrapmodule = wrap_module


def create_connection(  # noqa: PLR0917 - as PySocks has it
    dest_pair: Address,
    timeout: Any = None,
    source_address: Address | None = None,
    proxy_type: int | None = None,
    proxy_addr: str | None = None,
    proxy_port: int | None = None,
    proxy_rdns: bool = True,
    proxy_username: str | None = None,
    proxy_password: str | None = None,
    socket_options: Iterable[tuple[Any, ...]] | None = None,
) -> socksocket:
    """Connect to a host and port, through the proxy that is named, or the default one; return the socket.

    `timeout` is for connecting, in seconds, and for each operation afterwards. A source address is ignored, as the
    connection to the destination is the proxy's. Raises ProxyError.
    """
    del source_address
    sock = socksocket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        for option in socket_options or ():
            sock.setsockopt(*option)
        if isinstance(timeout, int | float):
            sock.settimeout(timeout)
        if proxy_type is not None:
            sock.set_proxy(proxy_type, proxy_addr, proxy_port, proxy_rdns, proxy_username, proxy_password)
        sock.connect((dest_pair[0].strip("[]"), dest_pair[1]))
    except BaseException:
        sock.close()
        raise
    return sock


@functools.lru_cache(maxsize=MAX_CLIENTS)
def _client_of(url: str) -> Client:
    return Client(url)


def _renamed(named: dict[str, Any]) -> dict[str, Any]:
    return {"proxy_type" if name == "proxytype" else name: value for name, value in named.items()}


@contextlib.contextmanager
def _translated(proxy: Proxy) -> Iterator[None]:
    """Raise this module's exceptions for those of the library."""
    name = PRINTABLE_PROXY_TYPES.get(proxy.proxy_type or 0, "")
    try:
        yield
    except OperationFailed as error:
        kind = OPERATION_ERRORS.get(proxy.proxy_type or 0, GeneralProxyError)
        raise kind(f"{error.code:#04x}", error) from error
    except AuthenticationFailed as error:
        raise SOCKS5AuthError(
            "SOCKS5 authentication failed" if name == "SOCKS5" else "authentication failed", error
        ) from error
    except ProxyUnreachable as error:
        raise ProxyConnectionError(f"Error connecting to {name} proxy", error) from error
    except (Socks6Error, ValueError) as error:
        raise GeneralProxyError(f"{name} proxy", error) from error
