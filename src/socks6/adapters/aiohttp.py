"""aiohttp through a proxy: `aiohttp.ClientSession(connector=Connector(URL))`, WebSockets too."""

import asyncio
import ssl
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from socks6.adapters.base import AdapterClient, AnyProxy, FailureKind, failure_of, missing, os_error
from socks6.compat import override
from socks6.errors import Socks6Error
from socks6.net.scopes import on_failure

try:
    import aiohttp
except ImportError as error:
    raise missing("aiohttp", "aiohttp") from error

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey


@contextmanager
def _failures(key: "ConnectionKey", client_error: type[Exception]) -> Iterator[None]:
    """Raise aiohttp's exceptions; of a TimeoutError it makes its own."""
    try:
        yield
    except Socks6Error as error:
        failure = failure_of(error)
        if failure is FailureKind.TIMEOUT:
            raise TimeoutError(str(error)) from error
        kind = client_error if failure is FailureKind.REMOTE else aiohttp.ClientProxyConnectionError
        raise kind(key, os_error(error)) from error
    except ssl.CertificateError as error:
        raise aiohttp.ClientConnectorCertificateError(key, error) from error
    except ssl.SSLError as error:
        raise aiohttp.ClientConnectorSSLError(key, error) from error
    except TimeoutError:
        raise
    except OSError as error:
        raise client_error(key, error) from error


class Connector(aiohttp.TCPConnector):
    """Connects an `aiohttp.ClientSession` through a proxy, which resolves the names.

    Raises what aiohttp's own connector does: ClientConnectorError of the remote host's, ClientProxyConnectionError of
    the proxy's, ConnectionTimeoutError of either's, ClientConnectorCertificateError and ClientConnectorSSLError of TLS
    with the host. Their `__cause__` leads to ours.
    """

    def __init__(self, proxy: AnyProxy, **settings: Any) -> None:  # those of TCPConnector
        """`proxy` is a URL, or a `Client` that its maker closes; `settings` are those of `TCPConnector`.

        Raises ConfigurationError for an impossible URL. Those about resolving names and about local sockets mean nothing here.
        """
        super().__init__(**settings)
        self._proxy_client = AdapterClient(proxy)
        self._made: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    @override
    async def _create_direct_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: object,
        timeout: aiohttp.ClientTimeout,
        *,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
    ) -> "tuple[asyncio.Transport, ResponseHandler]":
        """Connect to the host of a request. The one place where TCPConnector connects, in aiohttp 3.8 to 3.14."""
        host, port = req.url.raw_host or "", req.port or 0
        context = self._get_ssl_context(req)
        name = (req.server_hostname or host).rstrip(".") if context else None
        client = await self._proxy_client.enter()
        with _failures(req.connection_key, client_error):
            async with asyncio.timeout(timeout.sock_connect):
                transport, protocol = await client.create_connection(
                    self._factory, host, port, ssl=context, server_hostname=name
                )
        with suppress(
            TypeError
        ):  # uvloop's over TLS cannot be referred to weakly, and do not complain of being left open
            self._made.add(transport)
        fingerprint = self._get_fingerprint(req)
        if fingerprint is not None:
            with on_failure(transport.abort):
                fingerprint.check(transport)
        return transport, protocol

    @override
    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close the connections, and the client that a URL was made into."""
        await super().close(abort_ssl=abort_ssl)
        for transport in tuple(self._made):
            transport.abort()  # one that aiohttp has closed may still wait for the host to end TLS
        await self._proxy_client.aclose()
