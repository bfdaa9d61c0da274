"""What all adapters share: the client behind one, and what a failure means to users of the library that it is for."""

import asyncio
from enum import Enum, auto
from typing import TypeAlias

from socks6.client.client import Client
from socks6.distribution import install_hint
from socks6.errors import (
    ConnectionRefused,
    HostUnreachable,
    NetworkUnreachable,
    Socks6Error,
    TtlExpired,
)
from socks6.net.url import ProxyUrl

AnyProxy: TypeAlias = str | ProxyUrl | Client
"""A proxy's URL, or a client of it, which whoever made it enters and closes."""


class AdapterClient:
    """The client of an adapter. One that is made of a URL here is entered at the first use, and closed with the adapter."""

    def __init__(self, proxy: AnyProxy, *, session: bool | None = None) -> None:
        """`session` is False where one connection is made, for which no session is worth a request."""
        self._own = not isinstance(proxy, Client)
        self._client = proxy if isinstance(proxy, Client) else Client(proxy, session=session)
        self._entered = False

    async def enter(self) -> Client:
        """Return the client, which can be used now. Raises RuntimeError where no asyncio event loop runs."""
        if self._own and not self._entered:
            try:
                asyncio.get_running_loop()
            except RuntimeError as error:
                raise RuntimeError(
                    "this adapter runs on asyncio; use socks6.adapters.anyio on trio, or local_proxy()"
                ) from error
            self._entered = True
            await self._client.__aenter__()
        return self._client

    async def aclose(self) -> None:
        """Close the client if it is our own. Idempotent."""
        if self._entered:
            self._entered = False
            await self._client.__aexit__(None, None, None)


class FailureKind(Enum):
    """Why there is no connection, as far as other libraries tell such things apart."""

    TIMEOUT = auto()
    REMOTE = auto()  # the remote host, or the way from the proxy to it
    PROXY = auto()  # the proxy: it cannot be reached, refuses us, or failed


def failure_of(error: Socks6Error) -> FailureKind:
    """Return what a call of a client's that connects has failed by."""
    if isinstance(error, TimeoutError):
        return FailureKind.TIMEOUT
    if isinstance(error, NetworkUnreachable | HostUnreachable | ConnectionRefused | TtlExpired):
        return FailureKind.REMOTE
    return FailureKind.PROXY


def os_error(error: Socks6Error) -> OSError:
    """Return a plain OSError for libraries that show `errno` and `strerror` of one."""
    words = getattr(error, "strerror", None) or str(error)
    return OSError(getattr(error, "errno", None), words)


def missing(library: str, extra: str) -> ImportError:
    """Return what a module of adapters raises where its library is not installed."""
    return ImportError(f"this adapter needs {library}: {install_hint(extra)}", name=library)
