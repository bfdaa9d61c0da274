"""The pages about the public Python names. docs/guide/library.md, which a test holds to name all of them, says which belong together."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from socks6 import _MODULE_OF

GUIDE: Final = Path(__file__).resolve().parent.parent / "docs" / "guide" / "library.md"
HOMES: Final = {"socks6.errors": "errors", "socks6.telemetry": "events"}
SECTIONS: Final = {
    "Reaching hosts": "client",
    "Blocking calls": "blocking",
    "Errors": "errors",
    "Serving clients": "server",
    "Extending": "extending",
}
MORE: Final[Mapping[str, tuple[str, ...]]] = {  # what is public in modules of its own, or no class
    "blocking": (
        "socks6.sync.client",
        "socks6.client.sockets.ProxiedSocket",
        "socks6.sync.local",
        "socks6.local",
        "socks6.testing",
        "socks6.pysocks",
    )
}
INTRODUCTIONS: Final[Mapping[str, str]] = {
    "client": "# Python: reaching hosts\n\nWhat a program uses to reach hosts through a proxy.",
    "blocking": "# Python: blocking calls\n\n`socks6.sync`, for programs without an event loop; a proxy for subprocesses, and one for test suites.",
    "errors": "# Python: errors\n\nAll derive from `Socks6Error`, and from the OSError subclass or ValueError that asyncio would raise.",
    "server": "# Python: serving clients\n\nA server of one's own: what listens, who may come in, what they may do.",
    "events": "# Python: events\n\nWhat an `Observer` is given. Its `wants` names the classes of events; the log is an observer, too.",
    "extending": "# Python: extending\n\nWhat a transport, an outbound, an inbound, a store of sessions or a stack option of one's own is made of.",
}


def names_by_page(guide: str) -> dict[str, list[str]]:
    """Return the public names of each page, in the guide's order, each once; events and errors have pages of their own."""
    found: dict[str, list[str]] = {page: [] for page in INTRODUCTIONS}
    seen: set[str] = set()
    for section in re.split(r"^## ", guide, flags=re.MULTILINE)[1:]:
        page = SECTIONS[section.partition("\n")[0]]
        for name in re.findall(r"`([A-Z]\w+)`", section):
            if name in _MODULE_OF and name not in seen and page not in MORE:
                seen.add(name)
                found[HOMES.get(_MODULE_OF[name], page)].append(name)
    return found


def python_pages() -> dict[str, str]:
    """Return the pages, by the name of their file, for mkdocstrings to fill in."""
    pages = names_by_page(GUIDE.read_text())
    more = " [The guide](../guide/library.md) tells how they fit together.\n\n"
    return {
        f"reference/python-{page}.md": INTRODUCTIONS[page]
        + more
        + "\n\n".join(f"::: {name}" for name in (*(f"socks6.{name}" for name in names), *MORE.get(page, ())))
        + "\n"
        for page, names in pages.items()
    }
