"""The event loop that a command runs on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from socks6.errors import ConfigurationError

ResultT = TypeVar("ResultT")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: str) -> LoopFactory | None:
    """Return what makes a loop: "uvloop", "asyncio", or "auto", uvloop where it is installed.

    None stands for asyncio's own. Raises ConfigurationError.
    """
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        if name == "auto":
            return None
        raise ConfigurationError("uvloop needs an extra: pip install socks6[server]") from None
    return uvloop.new_event_loop


def run_loop(coroutine: Coroutine[Any, Any, ResultT], name: str = "asyncio") -> ResultT:
    """Run to the end. Raises what it raises, and ConfigurationError for a loop that is not installed."""
    try:
        factory = loop_factory(name)
    except ConfigurationError:
        coroutine.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)
