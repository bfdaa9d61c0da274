"""The libraries that speak QUIC, by name; each is an extra, and is imported when it is wanted."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from socks6.errors import ConfigurationError
from socks6.net.transports.quic.core import Backend

DEFAULT: Final = "qh3"


def _qh3(module: ModuleType) -> Backend:
    backend: Backend = module.Qh3Backend()
    return backend


def _aioquic(module: ModuleType) -> Backend:
    backend: Backend = module.AioquicBackend()
    return backend


MAKERS: Final[Mapping[str, Callable[[ModuleType], Backend]]] = {"qh3": _qh3, "aioquic": _aioquic}
EXTRAS: Final[Mapping[str, str]] = {"qh3": "quic", "aioquic": "quic-aioquic"}


def backend_named(name: str = DEFAULT) -> Backend:
    """Return a backend. Raises ConfigurationError for an unknown one, and for one that is not installed."""
    if name not in MAKERS:
        raise ConfigurationError(f"no QUIC backend {name!r}: one of {', '.join(MAKERS)}")
    try:
        module = importlib.import_module(f"socks6.net.transports.quic.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"QUIC by {name} needs an extra: pip install socks6[{EXTRAS[name]}] ({error})"
        ) from error
    return MAKERS[name](module)
