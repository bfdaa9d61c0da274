"""This package as an installer knows it."""

from typing import Final

NAME: Final = "pysocks6"
VERSION: Final = "0.2.0"


def install_hint(extra: str) -> str:
    """Return how to install what an extra brings, as it can be pasted into any shell."""
    return f"pip install '{NAME}[{extra}]' (in a clone: pip install '.[{extra}]')"
