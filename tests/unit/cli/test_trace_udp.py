"""socks6 trace --udp, with a scripted proxy that plays routers; tests/e2e traces over real ones."""

import re
from collections.abc import Callable

import pytest
from typing_extensions import override

from socks6.cli.trace import DatagramTrace
from socks6.errors import CommandNotSupported, NotAllowed, Socks6Error
from socks6.message.datagrams import AssociationMessage, Datagram, DatagramError
from socks6.message.dialect import DatagramLayout
from socks6.message.options import Ttl, UdpError, find
from socks6.message.replies import OperationReply
from tests.kit.associating import AssociatingProxy, associating
from tests.kit.loops import Run
from tests.kit.outcome import outcome

HOST = "192.0.2.5"
Answer = tuple[int, str] | None


class Routers(AssociatingProxy):
    """Has routers by their TTL, each with an error to tell; the host is behind them."""

    answers: tuple[Answer, ...] = ()
    reports: bool = True
    ttl: int | None = None  # that it uses, whatever it is asked

    @override
    async def _take(
        self, message: Datagram, layout: DatagramLayout | None, source: tuple[str, int] | None
    ) -> None:
        data, message = message.data, _emptied(message)
        await super()._take(message, layout, source)
        asked = find(self.requests[-1].options, Ttl)
        if not data or asked is None:
            return
        number = asked.ttl - 1
        answer: AssociationMessage = Datagram(
            association_id=message.association_id, host=message.host, port=message.port, data=b"answer"
        )
        if number < len(self.answers):
            told = self.answers[number]
            if told is None:
                return
            answer = DatagramError(
                association_id=message.association_id, host=HOST, port=53, code=told[0], reporter=told[1]
            )
        await self._send(answer, layout)


def _emptied(message: Datagram) -> Datagram:
    return Datagram(association_id=message.association_id, host=message.host, port=message.port, data=b"")


Traced = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def traced(run: Run, capsys: pytest.CaptureFixture[str]) -> Traced:
    """Give what traces a way: returns the exit code, the lines with # for each time, and the complaint."""

    def trace(
        *answers: Answer, hops: int = 30, ttl: int | None = None, **settings: object
    ) -> tuple[int, list[str], str]:
        async def tracing() -> int:
            proxy = Routers(**settings)  # type: ignore[arg-type]  # tests name settings freely
            proxy.answers = answers
            proxy.options = (UdpError(availability=2),) if not settings else proxy.options
            failures: list[Socks6Error] = []
            async with associating(proxy) as client:
                trace = _OneTTL(client, HOST, 53, probes=1, patience=0.1, proxy=proxy, told=ttl)
                try:
                    return await trace.run(hops)
                except Socks6Error as failure:
                    failures.append(failure)
            raise failures[0]

        code = outcome(run, tracing())
        told = capsys.readouterr()
        return code, re.sub(r"\d+\.\d{3} ms", "#", told.out).splitlines(), told.err

    return trace


class _OneTTL(DatagramTrace):
    """Has the proxy tell of the TTL that it was asked for, or of another."""

    def __init__(self, *arguments: object, proxy: Routers, told: int | None, **settings: object) -> None:
        super().__init__(*arguments, **settings)  # type: ignore[arg-type]  # passed on
        self._proxy = proxy
        self._told = told

    @override
    async def probe(self, ttl: int) -> object:  # type: ignore[override]  # passed on
        others = tuple(option for option in self._proxy.options if not isinstance(option, Ttl))
        self._proxy.options = (*others, Ttl(leg=2, ttl=self._told or ttl))
        return await super().probe(ttl)


def test_routers_then_the_host(traced: Traced) -> None:
    code, lines, complaint = traced((3, "10.0.1.1"), (3, "10.0.2.1"))
    assert lines == [" 1  10.0.1.1  #", " 2  10.0.2.1  #", " 3  192.0.2.5  #"]
    assert (code, complaint) == (0, "")


def test_silence_is_a_star(traced: Traced) -> None:
    _, lines, _ = traced(None)
    assert lines == [" 1  *", " 2  192.0.2.5  #"]


@pytest.mark.parametrize(("code", "mark"), [(1, "!N"), (2, "!H"), (4, "!F"), (9, "!")])
def test_no_way_on(traced: Traced, code: int, mark: str) -> None:
    result, lines, complaint = traced((3, "10.0.1.1"), (code, "10.0.2.1"))
    assert lines[1:] == [f" 2  10.0.2.1  # {mark}"]
    assert result == 1
    assert "10.0.2.1" in complaint


def test_a_proxy_that_minds_no_ttl(traced: Traced) -> None:
    code, lines, complaint = traced(ttl=64)
    assert (code, lines) == (1, [" 1  192.0.2.5  #"])
    assert "had one of 64" in complaint


def test_a_proxy_without_errors_shows_nothing(traced: Traced) -> None:
    with pytest.raises(CommandNotSupported, match="no ICMP errors"):
        traced(options=())


def test_a_proxy_that_refuses(traced: Traced) -> None:
    with pytest.raises(NotAllowed):
        traced(reply=lambda _: OperationReply(code=2))
