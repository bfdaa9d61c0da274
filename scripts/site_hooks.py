"""What mkdocs asks while it builds the site: pages made from the code, and files of the repository outside docs/.

Links are written as they hold in the repository; here they are made to hold on the site.
"""

import pkgutil
import posixpath
import re
import sys
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

from command_pages import commands_page
from python_pages import python_pages

ROOT: Final = Path(__file__).resolve().parent.parent
LINK: Final = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")
ITEM: Final = re.compile(r"(- |\d+\. )")
NUMBERED: Final = re.compile(r"\d+\. ")
NEXT_NUMBER: Final = re.compile(r"(?<=[.:;]) (?=\d{1,2}\. [`A-Z])")
PUBLIC_PACKAGES: Final = ("socks6.message", "socks6.policy", "socks6.protocol")
# What the site shows of the repository, beside docs/. What leads to an example leads to the page of all of them.
PAGES: Final = {
    "ARCHITECTURE.md": "repository/ARCHITECTURE.md",
    "CHANGELOG.md": "repository/CHANGELOG.md",
    "CONTRIBUTING.md": "repository/CONTRIBUTING.md",
    "README.md": "index.md",
    "benchmarks/results": "explanation/performance.md",
    "examples": "repository/examples.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the guides that mkdocs.yml does not name to the menu, after the others."""
    guides = next(section["Guides"] for section in config.nav or () if "Guides" in section)
    named = {place for entry in guides for place in entry.values()}
    guides += [
        {(ROOT / "docs" / place).read_text().partition("\n")[0].lstrip("# "): place}
        for place in (f"guide/{path.name}" for path in sorted((ROOT / "docs" / "guide").glob("*.md")))
        if place not in named
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    texts = {PAGES[name]: (ROOT / name).read_text() for name in PAGES if name.endswith(".md")}
    texts |= {
        "repository/examples.md": examples_page(),
        "reference/commands.md": commands_page(),
        "reference/python-modules.md": modules_page(),
        **python_pages(),
    }
    for place, text in texts.items():
        files.append(File.generated(config, place, content=text))
    for path in (ROOT / "benchmarks" / "results").glob("*.md"):
        if path.name != "README.md":
            files.append(
                File.generated(
                    config,
                    f"repository/results/{path.name}",
                    content=path.read_text(),
                    inclusion=InclusionLevel.NOT_IN_NAV,
                )
            )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return a page's text with the links of the site."""
    place = page.file.src_uri
    if place == "index.md":
        page.meta["hide"] = ["navigation"]  # a menu of one entry
    home = next((name for name, shown in PAGES.items() if shown == place and name.endswith(".md")), "")
    if place.startswith("repository/results/"):
        home = f"benchmarks/results/{posixpath.basename(place)}"
    home = home or f"docs/{place}"

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), match[2]))
        return match[1] + posixpath.relpath(_on_site(target), posixpath.dirname(place) or ".")

    return LINK.sub(link, _with_lists(markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return a page of the reference in an element of its own, for docs/site.css."""
    return f'<div class="reference">{html}</div>' if page.file.src_uri.startswith("reference/") else html


def examples_page() -> str:
    """Return all examples, each with its code."""
    lines = ["# Examples", "", "Short programs, one for each use; every one is run by a test.", ""]
    for path in sorted((ROOT / "examples").glob("*.*")):
        language = {".py": "python", ".sh": "sh", ".toml": "toml"}[path.suffix]
        lines += [f"## {path.name}", "", f"```{language}", path.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


def modules_page() -> str:
    """Return the page about the public packages, for the generator of the Python reference to fill in."""
    lines = [
        "# Python: wire format, conversations, policy",
        "",
        "The modules of `socks6.message`, `socks6.protocol` and `socks6.policy` are public, too. They read and write no",
        "sockets: bytes and time go in, values and events come out.",
        "",
    ]
    for package in PUBLIC_PACKAGES:
        folder = ROOT / "src" / package.replace(".", "/")
        for module in pkgutil.walk_packages([str(folder)], f"{package}."):
            lines += [] if module.ispkg else [f"::: {module.name}", ""]
    return "\n".join(lines)


def _with_lists(markdown: str) -> str:
    """Return Markdown in which each list begins after an empty line, and each of its numbers on a line of its own.

    GitHub needs neither, Python's Markdown does.
    """
    lines: list[str] = []
    in_code = False
    for line in markdown.splitlines():
        before = lines[-1] if lines else ""
        in_code ^= line.startswith("```")
        if not in_code and ITEM.match(line) and before.strip() and not before.startswith(("- ", " ")):
            lines += [] if NUMBERED.match(before) or NUMBERED.match(_paragraph(lines)) else [""]
        lines += NEXT_NUMBER.split(line) if not in_code and NUMBERED.match(line) else [line]
    return "\n".join(lines)


def _paragraph(lines: list[str]) -> str:
    """Return the first line of the paragraph that ends with the last line."""
    first = lines[-1]
    for line in reversed(lines):
        if not line.strip():
            break
        first = line
    return first


def _on_site(target: str) -> str:
    """Return where the site has a file of the repository, which it must have."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.startswith("benchmarks/results/") and not target.endswith("README.md"):
        return f"repository/results/{posixpath.basename(target)}"
    return PAGES.get(target) or PAGES.get(posixpath.dirname(target)) or target
