"""Performs one act, compares what came of it with what should, and tells it."""

import asyncio
import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from socks6.cli.demo.acts import Act
from socks6.cli.demo.curl import PROGRAM, Fetched, run_curl
from socks6.cli.demo.drawing import Arrow, draw
from socks6.cli.demo.recording import Piece
from socks6.cli.demo.site import Visit
from socks6.cli.demo.stage import USER, Stage
from socks6.cli.demo.telling import HTTP, SOCKS6, Script, place, tell
from socks6.message.codes import ReplyCode
from socks6.telemetry import ConnectionSummary, Ending

PARTIES: Final = ("curl", "converter", "server", "web site")
CURL, CONVERTER, SERVER, SITE = range(len(PARTIES))
PATIENCE: Final = 10.0  # seconds for what must follow a run of curl at once
NO_PROXY_MADE_IT: Final = 97  # curl's exit code for a failed SOCKS handshake
MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """An act as it went."""

    act: Act
    command: tuple[str, ...]
    fetched: Fetched
    near: ConnectionSummary  # the converter's
    far: ConnectionSummary  # the server's
    visit: Visit | None
    near_pieces: list[Piece]
    far_pieces: list[Piece]


async def perform(act: Act, stage: Stage, folder: Path) -> Performance:
    """Run curl. Raises TimeoutError when something does not end that should."""
    names = stage.names()
    arguments = tuple(argument.format_map(names) for argument in act.arguments)
    converter = stage.stranger if act.refused else stage.converter
    fetched = await run_curl(arguments, folder / "body")
    async with asyncio.timeout(PATIENCE):
        near, far = await converter.ends.next(), await stage.server.ends.next()
        visit = None if act.refused else await stage.site.visits.get()
    return Performance(
        act=act,
        command=(PROGRAM, *arguments),
        fetched=fetched,
        near=near,
        far=far,
        visit=visit,
        near_pieces=converter.inbound.clients[-1],
        far_pieces=stage.server.inbound.clients[-1],
    )


def differences(performance: Performance) -> Iterator[str]:
    """Return what came out otherwise than it should."""
    act, fetched = performance.act, performance.fetched
    wanted = act.wanted()
    rows: tuple[tuple[str, object, object], ...] = (
        ("curl's exit code", fetched.exit_code, NO_PROXY_MADE_IT if act.refused else 0),
        ("the HTTP status", fetched.status, 0 if act.refused else 200),
        ("the body's length", len(fetched.body), len(wanted)),
        ("the body's SHA-256", hashlib.sha256(fetched.body).hexdigest(), hashlib.sha256(wanted).hexdigest()),
        ("the user", performance.far.user, "" if act.refused else USER),
        (
            "the server's ending",
            performance.far.ending,
            Ending.UNAUTHENTICATED if act.refused else Ending.DONE,
        ),
        ("the converter's ending", performance.near.ending, Ending.FAILED if act.refused else Ending.DONE),
        (
            "the converter's reply",
            performance.near.reply,
            ReplyCode.GENERAL_FAILURE.value if act.refused else 0,
        ),
    )
    for name, came, should in rows:
        if came != should:
            yield f"{name} is {came}, not {should}"
    if performance.visit and performance.far.bytes_down != performance.visit.answer_size:
        yield f"the server relayed {performance.far.bytes_down} of {performance.visit.answer_size} bytes"


def story(performance: Performance) -> Iterator[str]:
    """Return what happened, in lines."""
    fetched, visit = performance.fetched, performance.visit
    yield "$ " + shlex.join(performance.command)
    if fetched.complaint:
        yield fetched.complaint
    result = f"HTTP {fetched.status}" if fetched.status else f"exit code {fetched.exit_code}"
    moved = performance.far.bytes_up + performance.far.bytes_down
    speed = f", {moved / fetched.seconds / MEBIBYTE:.0f} MiB/s" if moved > MEBIBYTE else ""
    yield f"curl       {result}, {len(fetched.body)} bytes in {fetched.seconds * 1000:.1f} ms{speed}"
    for name, summary in (("converter", performance.near), ("server", performance.far)):
        yield f"{name:10} {_summary(summary)}"
    yield f"web site   {visit.line}, from {visit.client}" if visit else "web site   nobody came"


def picture(performance: Performance) -> list[str]:
    """Return the act as a picture; nothing for one that is to have none."""
    script, visit = performance.act.script, performance.visit
    if script is None or visit is None:
        return []
    return draw(PARTIES, sorted(_arrows(performance, script, visit), key=lambda arrow: arrow.time))


def _arrows(performance: Performance, script: Script, visit: Visit) -> Iterator[Arrow]:
    start = performance.near_pieces[0].time
    yield from tell(performance.near_pieces, script, client=CURL, host=CONVERTER, start=start)
    yield from tell(performance.far_pieces, SOCKS6, client=CONVERTER, host=SERVER, start=start)
    yield _site(visit.accepted - start, "TCP connection")
    yield _site(visit.asked - start, visit.line, f"{visit.head_size} bytes")
    yield _site(visit.answered - start, "HTTP/1.1 200 OK", f"{visit.answer_size} bytes", back=True)
    legs = (
        (CURL, performance.near, performance.near_pieces),
        (CONVERTER, performance.far, performance.far_pieces),
    )
    for left, summary, pieces in legs:
        if not (left == CURL and script is HTTP):  # which is forwarded, and told above, piece by piece
            yield Arrow(
                time=(pieces[0].time + summary.seconds - start) * 1000,
                source=left,
                target=left + 1,
                words=("then, until both have ended:",),
                label=f"{summary.bytes_up} up, {summary.bytes_down} down",
                both_ways=True,
            )


def _site(seconds: float, words: str, label: str = "", *, back: bool = False) -> Arrow:
    source, target = (SITE, SERVER) if back else (SERVER, SITE)
    return Arrow(time=seconds * 1000, source=source, target=target, words=(words,), label=label)


def _summary(summary: ConnectionSummary) -> str:
    user = f", user {summary.user}" if summary.user else ""
    if not summary.command:
        return f"{summary.inbound}{user}: {summary.ending.value}, {summary.reason}"
    what = f"{summary.inbound}{user}: {summary.command} {place(summary.host, summary.port)}"
    if summary.reply:
        return f"{what}: {summary.reason}"
    return f"{what}, {summary.bytes_up} bytes up, {summary.bytes_down} down"
