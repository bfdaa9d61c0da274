"""What several commands share: the event loop, the service manager, and the proxy that flags name."""

import asyncio
import logging
import os
import resource
import socket
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from socks6.config.upstream import find_upstream
from socks6.errors import ConfigurationError
from socks6.message.address import normalize_host
from socks6.message.dialect import GO_212

if TYPE_CHECKING:
    from socks6.client.client import Client

ResultT = TypeVar("ResultT")
LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

NO_PROXY: Final = "no proxy to go through: name it by --via, --via-file or SOCKS6_PROXY"


def loop_factory(name: str) -> LoopFactory | None:
    """Return what makes a loop: "uvloop", "asyncio", or "auto", uvloop where it is installed.

    None stands for asyncio's own. Raises ConfigurationError.
    """
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        if name == "auto":
            return None
        raise ConfigurationError("uvloop is not installed: pip install uvloop, where it exists") from None
    return uvloop.new_event_loop


def run_loop(coroutine: Coroutine[Any, Any, ResultT], name: str = "asyncio") -> ResultT:
    """Run a coroutine to its end. Raises what it raises, and ConfigurationError for a loop that is not installed."""
    try:
        factory = loop_factory(name)
    except ConfigurationError:
        coroutine.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def run_client(client: "Client", coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine that uses a client to its end, then leave the client: over QUIC the proxy learns of it."""

    async def run() -> ResultT:
        async with client:
            return await coroutine

    return run_loop(run())


def log_in_plain_words() -> None:
    """Print what the package logs on standard error, as a command's own lines are, unless its log is set up already."""
    logger = logging.getLogger("socks6")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("socks6: %(message)s"))
        logger.addHandler(handler)


def notify(state: str) -> None:
    """Send a state such as READY=1 to the service manager (sd_notify(3)), if there is one; a failure changes nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError:
        pass


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as this process may have: each connection takes two, and more while it is busy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # macOS names a hard limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def named_client(
    arguments: Namespace, missing: str, *, session: bool | None = None, argument: str = "--via"
) -> "Client":
    """Return the client of the proxy that flags or the environment name. Raises ConfigurationError: `missing` if none.

    With `session=False` it has none: for commands that make a single request.
    """
    url = find_upstream(arguments.via, arguments.via_file, os.environ, argument=argument)
    if url is None:
        raise ConfigurationError(missing)
    from socks6.client.client import Client  # noqa: PLC0415 - which other commands need not load

    log_in_plain_words()
    dialect = GO_212 if arguments.dialect_212 else None
    return Client(url, timeout=arguments.timeout, dialect=dialect, session=session)


def named_host(argument: str, text: str) -> str:
    """Return a host as a request carries it. Raises ConfigurationError, which names the argument."""
    try:
        return normalize_host(text)
    except ValueError as error:
        raise ConfigurationError(f"{argument}: {error}") from error
