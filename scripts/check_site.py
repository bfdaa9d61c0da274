"""Checks the built site as a browser would read it: links and anchors lead somewhere, and nothing is fetched from elsewhere."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from socks6.compat import override

FETCHED: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
NOT_FETCHED: Final = {"canonical", "next", "prev"}  # of <link rel=...>


class Scan(HTMLParser):
    """Collects the anchors, links and fetched files of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if FETCHED.get(tag) in values and values.get("rel") not in NOT_FETCHED:
            self.fetched.add(values[FETCHED[tag]])


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong with the pages below a folder."""
    pages: dict[Path, Scan] = defaultdict(Scan)
    for path in sorted(site.rglob("*.html")):
        pages[path.resolve()].feed(path.read_text())
    for path, page in list(pages.items()):
        if path.name == "404.html":  # its links begin at the root of a host
            continue
        where = path.relative_to(site.resolve())
        yield from (f"{where}: fetches {url}" for url in page.fetched if urlsplit(url).netloc)
        for url in sorted(page.links | page.fetched):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{where}: {url} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {url} has no such anchor"


def main(folder: str) -> int:
    found = list(faults(Path(folder)))
    print("\n".join(found) or f"{folder}: every link leads somewhere, nothing comes from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
