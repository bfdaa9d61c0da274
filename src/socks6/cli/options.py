"""socks6 ping --options: which stack options a proxy supports and honours."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final, TypeAlias

from socks6.cli import FAILED, complain
from socks6.client.client import Client
from socks6.errors import NotAllowed, OperationFailed
from socks6.message.address import is_literal
from socks6.message.codes import Availability, Command, Leg
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.message.requests import Request
from socks6.net.stream import Endpoint

LEGS: Final = {Leg.CLIENT_PROXY: "client leg", Leg.PROXY_REMOTE: "remote leg"}
EVERYTHING: Final[tuple[StackOption, ...]] = (
    Tos(leg=Leg.BOTH, tos=0x28),  # AF11; TCP keeps the lowest two bits to itself
    Ttl(leg=Leg.BOTH, ttl=60),  # no way is that long, and no system's default is this
    NoFragmentation(leg=Leg.BOTH, availability=Availability.YES),
    HappyEyeballs(availability=Availability.YES),
    Tfo(payload_size=0),
    Multipath(availability=Availability.YES),
)
# MPTCP alone: Linux has none where a TTL is asked for. TFO twice: the first time fetches a cookie.
ROUNDS: Final = (EVERYTHING[5:], EVERYTHING[4:5], EVERYTHING[:5])
NOOP: Final = Request(command=Command.NOOP, host="0.0.0.0", port=0).encode()  # noqa: S104 - zeros, on the wire
COLUMNS: Final = "{:<15} {:<6} {:<11} {:<11} {}"

Answers: TypeAlias = Mapping[tuple[type[StackOption], Leg], int]


async def show_options(client: Client, target: tuple[str, int] | None) -> int:
    """Print a table of what becomes of each option on the path to a host.

    If none is named it is the proxy itself, or else, since a proxy may refuse that, a port that it binds for us.
    """
    if target is not None:
        answers = await ask(client, _always(Endpoint(*target)), b"")
        _show(client, Endpoint(*target), answers, sent=False)
        return 0
    itself = Endpoint(client.url.host, client.url.port)
    try:
        if client.url.path:
            raise NotAllowed("a Unix socket leads nowhere from the proxy")
        answers = await ask(client, _always(itself), NOOP)
    except OperationFailed as failure:
        return await _show_by_binding(client, failure)
    _show(client, itself, answers, sent=True)
    return 0


async def _show_by_binding(client: Client, failure: OperationFailed) -> int:
    try:
        answers = await ask(client, functools.partial(_bound_port, client), NOOP)
    except OperationFailed as refusal:
        complain(
            f"asked to connect to itself, {failure.reason}; asked for a port of ours, {refusal.reason}:"
            " name a host by --target HOST:PORT"
        )
        return FAILED
    _show(client, None, answers, sent=True)
    return 0


def _show(client: Client, target: Endpoint | None, answers: Answers, *, sent: bool) -> None:
    where = "a port that it bound for us"
    if target is not None:
        where = f"{f'[{target.host}]' if ':' in target.host else target.host}:{target.port}"
    print(f"options of {client.url}, on the way to {where}")
    to_address = target is None or is_literal(target.host)
    # a proxy may be sent something, so that there is something to go into the SYN
    print(*table(answers, to_address=to_address, sent=sent), sep="\n", flush=True)


def _always(target: Endpoint) -> Callable[[], AbstractAsyncContextManager[Endpoint]]:
    return lambda: nullcontext(target)


@asynccontextmanager
async def _bound_port(client: Client) -> AsyncIterator[Endpoint]:
    """Give a port at the proxy which takes one connection, Fast Open and MPTCP too."""
    async with await client.bind(options=EVERYTHING[4:]) as listener:
        yield listener.bound


async def ask(
    client: Client, target: Callable[[], AbstractAsyncContextManager[Endpoint]], data: bytes
) -> Answers:
    """Connect with every option, each time to what `target` gives; return what is in force of each on each leg.

    Raises Socks6Error.
    """
    answers: dict[tuple[type[StackOption], Leg], int] = {}
    for options in ROUNDS:
        async with target() as (host, port):
            stream = await client.connect(host, port, initial_data=data, options=options)
            await stream.aclose()
        for option in stream.options:
            if isinstance(option, StackOption):
                answers.update({(type(option), leg): option.value for leg in LEGS if option.leg & leg})
    return answers


def table(answers: Answers, *, to_address: bool, sent: bool) -> Iterator[str]:
    """Return the lines of the table; `to_address` says that there was no name, `sent` that data went along."""
    yield COLUMNS.format("option", "asked", *LEGS.values(), "verdict")
    for asked in EVERYTHING:
        reported = {leg: answers.get((type(asked), leg)) for leg in LEGS if asked.leg & leg}
        if isinstance(asked, HappyEyeballs) and to_address:
            verdict = "not tested: it takes a name to connect to"
        elif isinstance(asked, Tfo) and not sent and reported[Leg.PROXY_REMOTE] == 0:
            verdict = "supported; not tested: there was nothing to send"
        else:
            verdict = _verdict(asked, reported)
        legs = (_text(asked, reported[leg]) if leg in reported else "-" for leg in LEGS)
        yield COLUMNS.format(asked.url_key, _asked(asked), *legs, verdict)


def _verdict(asked: StackOption, reported: Mapping[Leg, int | None]) -> str:
    if all(value is None for value in reported.values()):
        return "not supported"
    honoured = [leg for leg, value in reported.items() if _honours(asked, value)]
    if len(honoured) == len(reported):
        return "honoured"
    return f"honoured on the {LEGS[honoured[0]]} alone" if honoured else "supported, not honoured"


def _honours(asked: StackOption, value: int | None) -> bool:
    return bool(value) if isinstance(asked, Tfo) else value == asked.value


def _asked(option: StackOption) -> str:
    return "any" if isinstance(option, Tfo) else _text(option, option.value)


def _text(option: StackOption, value: int | None) -> str:
    match option:
        case _ if value is None:
            return "no answer"
        case Tos():
            return f"0x{value:02x}"
        case Ttl():
            return str(value)
        case Tfo():
            return f"{value} bytes"
        case _:
            return "yes" if value == Availability.YES else "no"
