"""The libraries that speak QUIC, by name; each is an extra, and is imported when it is wanted."""

import importlib
import importlib.metadata
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
VETTED_VERSIONS: Final[Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "qh3": ((2, 1), (3,)),
    "aioquic": ((1, 7), (2,)),
}
"""The versions whose faults are known and kept within bounds (docs/decisions/0038): from the first, before the second."""
EXTRAS: Final[Mapping[str, str]] = {"qh3": "quic", "aioquic": "quic-aioquic"}


def load_backend(name: str = DEFAULT) -> Backend:
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


def unvetted_version(name: str) -> str:
    """Return the version of a library that is installed, if nobody knows what strangers can do to it; else ""."""
    version = importlib.metadata.version(name)
    parts = tuple(int(part) for part in version.split(".") if part.isdecimal())
    first, past = VETTED_VERSIONS[name]
    return "" if first <= parts < past else version
