"""What the documents show, taken out of them to be run; and a terminal to type it into."""

import os
import pty
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMPT: Final = re.compile(r"^((?:\w+)?[$#]) (.*)$")
ASKS: Final = re.compile(rb"(?:password|again)[^\n]*: ?$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a document."""

    document: str
    heading: str
    language: str
    text: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Return its commands, each with its prompt, "" where nothing has one; without the comments behind them."""
        found = [PROMPT.match(line) for line in self.text.splitlines()]
        shown = [(match[1], match[2]) for match in found if match]
        shown = shown or [("", line) for line in self.text.splitlines() if line]
        return [(prompt, re.sub(r"\s+#.*", "", line)) for prompt, line in shown]

    def output_of(self, command: str) -> list[str]:
        """Return the lines that stand below a command with a prompt, up to the next."""
        found: list[str] = []
        inside = False
        for line in self.text.splitlines():
            match = PROMPT.match(line)
            if match or not line:
                inside = match is not None and re.sub(r"\s+#.*", "", match[2]) == command
            elif inside:
                found.append(line)
        return found

    @property
    def runs(self) -> bool:
        """Whether it is for a shell or for Python."""
        return self.language in {"sh", "console", "python"}


def blocks(document: str, heading: str | None = None) -> Iterator[Block]:
    """Return the blocks of a document, or those of one section of it."""
    section = ""
    for part in re.split(r"^(?=##+ )", (ROOT / document).read_text(), flags=re.MULTILINE):
        if title := re.match(r"##+ (.*)", part):
            section = title[1]
        if heading in {None, section}:
            for language, text in BLOCK.findall(part):
                yield Block(document=document, heading=section, language=language, text=text)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command said on its terminal, and its exit code."""

    text: str
    code: int


def type_in(line: str, *, password: str, folder: Path, environment: Mapping[str, str], within: float) -> Said:
    """Run a line in a shell on a terminal, give the password as often as it asks for one, and wait for the end."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env={**environment, "TERM": "dumb"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    watch = threading.Timer(within, process.kill)
    watch.start()
    said = b""
    try:
        while data := _read(ours):
            said += data
            if ASKS.search(said):
                os.write(ours, f"{password}\n".encode())
        code = process.wait()
    finally:
        watch.cancel()
        os.close(ours)
    return Said(text=said.decode().replace("\r\n", "\n"), code=code)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody has it open any more
        return b""
