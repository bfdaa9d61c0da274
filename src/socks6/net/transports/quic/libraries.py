"""The libraries that speak QUIC, by name. Each is an extra, and is imported when it is wanted."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Library(NamedTuple):
    """How a library comes into use, and the versions whose faults are known and kept within bounds (docs/decisions/0038)."""

    backend: str  # the class, in the module of the library's name
    extra: str
    vetted_from: tuple[int, ...]
    vetted_before: tuple[int, ...]


DEFAULT: Final = "qh3"
LIBRARIES: Final[Mapping[str, Library]] = {
    "qh3": Library("Qh3Backend", "quic", (2, 1), (3,)),
    "aioquic": Library("AioquicBackend", "quic-aioquic", (1, 7), (2,)),
}


def unvetted_version(name: str) -> str:
    """Return the version of a library that is installed, if its faults were not examined; else ""."""
    from importlib import metadata  # noqa: PLC0415 - takes 20 ms

    version = metadata.version(name)
    parts = tuple(int(part) for part in version.split(".") if part.isdecimal())
    library = LIBRARIES[name]
    return "" if library.vetted_from <= parts < library.vetted_before else version
