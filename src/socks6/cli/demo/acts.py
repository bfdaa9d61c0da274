"""What the demonstration shows: each act is a run of curl, and what must come of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from socks6.cli.demo.site import PAGE, large_file
from socks6.cli.demo.telling import HTTP, SOCKS5, Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One run of curl; {names} in its arguments stand for places of the stage."""

    title: str
    arguments: tuple[str, ...]
    script: Script | None = None  # what curl speaks, where a picture is to be drawn
    wanted: Callable[[], bytes] = lambda: PAGE  # what curl must get
    refused: bool = False  # nothing at all must come of it


ACTS: Final = (
    Act(
        title="curl speaks SOCKS 5, the converter carries it to the server over SOCKS 6",
        arguments=("--socks5", "{converter}", "http://{site}/"),
        script=SOCKS5,
    ),
    Act(
        title="by name: nobody but the server looks it up",
        arguments=("--socks5-hostname", "{converter}", "http://localhost:{site_port}/"),
    ),
    Act(
        title="SOCKS 4a on the same port",
        arguments=("--socks4a", "{converter}", "http://localhost:{site_port}/"),
    ),
    Act(
        title="HTTP on the same port: the request for the page rides along with the request to connect",
        arguments=("--proxy", "http://{converter}", "http://{site}/"),
        script=HTTP,
    ),
    Act(
        title="64 MiB down, moved by the kernel",
        arguments=("--socks5", "{converter}", "http://{site}/large"),
        wanted=large_file,
    ),
    Act(
        title="64 MiB up; the site answers with their SHA-256",
        arguments=("--socks5", "{converter}", "--upload-file", "{upload}", "http://{site}/"),
        wanted=lambda: hashlib.sha256(large_file()).hexdigest().encode(),
    ),
    Act(
        title="a converter with a wrong password comes nowhere",
        arguments=("--socks5", "{stranger}", "http://{site}/"),
        wanted=lambda: b"",
        refused=True,
    ),
)
