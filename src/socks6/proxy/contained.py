"""An observer whose faults are contained: whatever it raises goes no further than the loop's exception handler."""

import asyncio
import functools
from collections.abc import Callable

from socks6.telemetry import NullObserver, Observer


class ContainedObserver(NullObserver):
    """Tells `inner` all that an Observer is told, and whoever tells it never learns that `inner` raised."""

    def __init__(self, inner: Observer) -> None:
        for name in vars(Observer):
            if not name.startswith("_"):
                setattr(self, name, functools.partial(_told, getattr(inner, name), name))


def contained(observer: Observer) -> Observer:
    """Return an observer that tells this one and raises nothing."""
    return observer if isinstance(observer, ContainedObserver) else ContainedObserver(observer)


def _told(call: Callable[..., None], name: str, *args: object) -> None:
    try:
        call(*args)
    except Exception as error:  # noqa: BLE001 - others' code, and what is told of goes on
        report(f"an observer's {name}", error)


def report(what: str, error: Exception) -> None:
    """Have the loop log a fault that nobody is there to be told of."""
    asyncio.get_running_loop().call_exception_handler({"message": f"{what} raised", "exception": error})
