"""What a URL's query says about QUIC."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BACKENDS: Final = ("qh3", "aioquic")
SERVER_KEYS: Final = ("backend",)
CLIENT_KEYS: Final = ("backend", "stream-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuicParameters:
    """Everything that can be said; what is not said is as below."""

    backend: str = ""  # the library that speaks it; "" for the usual one
    stream_ids: bool = True  # a client's: whether its BINDs are numbered (StreamID), always or never


NOTHING_SAID: Final = QuicParameters()


def parse_quic(pairs: Iterable[tuple[str, str]], keys: Iterable[str]) -> QuicParameters:
    """Read those keys and values of a query that are about QUIC. Raises ValueError, which says what is wrong."""
    said: dict[str, str] = {}
    for key, value in pairs:
        if key not in keys:
            raise ValueError(f"has an unknown option {key!r}; about QUIC there are {', '.join(keys)}")
        if key in said:
            raise ValueError(f"has the option {key!r} twice")
        said[key] = value
    backend = said.get("backend", "")
    if "backend" in said and backend not in BACKENDS:
        raise ValueError(f"has backend={backend}: write {' or '.join(BACKENDS)}")
    numbered = said.get("stream-id", "1")
    if numbered not in {"0", "1"}:
        raise ValueError(f"has stream-id={numbered}: write 0 or 1")
    return QuicParameters(backend=backend, stream_ids=numbered == "1")


def format_quic(said: QuicParameters) -> str:
    """Return the query that says this; "" if nothing is said."""
    backend = f"backend={said.backend}" if said.backend else ""
    return "&".join(filter(None, (backend, "" if said.stream_ids else "stream-id=0")))
