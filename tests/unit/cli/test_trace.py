"""socks6 trace, with a proxy that answers as told; tests/e2e traces over real routers."""

import re
from collections.abc import Callable

import pytest
from typing_extensions import override

from socks6.cli.trace import ConnectionTrace
from socks6.client.client import Client, Timeout
from socks6.client.options import Options, flatten
from socks6.client.stream import ProxiedStream
from socks6.errors import (
    ConnectionRefused,
    ConnectionTimedOut,
    GeneralFailure,
    HostUnreachable,
    NetworkUnreachable,
    NotAllowed,
    ProxyTimedOut,
    ProxyUnreachable,
    TtlExpired,
)
from socks6.message.options import StackOption, Ttl
from socks6.net.stream import Endpoint
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outcome import outcome

Answer = Exception | tuple[StackOption, ...]
HOST = "a.example"


def router(number: int) -> TtlExpired:
    return TtlExpired("", reporter=f"10.0.{number}.1")


def connected(ttl: int) -> tuple[StackOption, ...]:
    return (Ttl(leg=2, ttl=ttl),)


class Way(Client):
    """Answers each TTL as told; a list of answers is for the probes of one TTL, one after another."""

    def __init__(self, *answers: Answer | list[Answer], there: bool = True) -> None:
        super().__init__("socks6://proxy.example")
        self._answers = answers
        self._there = there

    @override
    async def noop(self, *, timeout: Timeout = "client") -> float:
        if not self._there:
            raise ProxyUnreachable("nobody there")
        return 0.0

    @override
    async def connect(
        self,
        host: str,
        port: int,
        *,
        initial_data: bytes = b"",
        options: Options = (),
        timeout: Timeout = "client",
        idempotent: bool = False,
    ) -> ProxiedStream:
        assert (host, port) == (HOST, 80)
        (ttl,) = flatten(options)
        assert isinstance(ttl, Ttl)
        assert ttl.leg == 2
        answer = self._answers[ttl.ttl - 1]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return ProxiedStream(memory_stream_pair()[0], Endpoint("192.0.2.1", 1), answer)


Traced = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def traced(run: Run, capsys: pytest.CaptureFixture[str]) -> Traced:
    """Give what traces a way: returns the exit code, the lines with # for each time, and the complaint."""

    def trace(*answers: Answer | list[Answer], probes: int = 1, hops: int = 30) -> tuple[int, list[str], str]:
        code = outcome(run, ConnectionTrace(Way(*answers), HOST, 80, probes=probes).run(hops))
        told = capsys.readouterr()
        return code, re.sub(r"\d+\.\d{3} ms", "#", told.out).splitlines(), told.err

    return trace


def test_routers_then_the_host(traced: Traced) -> None:
    code, lines, complaint = traced(router(1), router(2), connected(3), probes=2)
    assert lines == [" 1  10.0.1.1  #  #", " 2  10.0.2.1  #  #", " 3  a.example  #  #"]
    assert (code, complaint) == (0, "")


def test_a_host_that_refuses_is_reached(traced: Traced) -> None:
    assert traced(router(1), ConnectionRefused("")) == (0, [" 1  10.0.1.1  #", " 2  a.example  #"], "")


@pytest.mark.parametrize("silence", [ProxyTimedOut(""), ConnectionTimedOut("")])
def test_silence_is_a_star(traced: Traced, silence: Exception) -> None:
    _, lines, _ = traced([silence, silence], [router(2), silence], connected(3), probes=2)
    assert lines[:2] == [" 1  * *", " 2  10.0.2.1  #  *"]


def test_probes_may_take_different_ways(traced: Traced) -> None:
    _, lines, _ = traced([router(1), router(7), router(7)], connected(2), probes=3)
    assert lines[0] == " 1  10.0.1.1  #  10.0.7.1  #  #"


def test_a_router_without_a_name(traced: Traced) -> None:
    _, lines, _ = traced(TtlExpired(""), connected(2))
    assert lines[0] == " 1  ?  #"


@pytest.mark.parametrize(
    ("failure", "mark"),
    [(HostUnreachable("why"), "!H"), (NetworkUnreachable("why"), "!N"), (NotAllowed("why"), "!X")],
)
def test_no_way_on(traced: Traced, failure: Exception, mark: str) -> None:
    code, lines, complaint = traced(router(1), failure)
    assert lines[1:] == [f" 2  ?  # {mark}"]
    assert code == 1
    assert complaint.startswith("socks6: ")


def test_one_probe_that_finds_no_way_on_does_not_stop_the_others(traced: Traced) -> None:
    code, lines, _ = traced([HostUnreachable(""), router(1)], connected(2), probes=2)
    assert (code, lines[0]) == (0, " 1  ?  # !H  10.0.1.1  #")


def test_so_many_routers_and_no_more(traced: Traced) -> None:
    assert traced(router(1), router(2), hops=2) == (
        1,
        [" 1  10.0.1.1  #", " 2  10.0.2.1  #"],
        "socks6: a.example is further away\n",
    )


@pytest.mark.parametrize(("told", "words"), [((), "reported none"), (connected(64), "had one of 64")])
def test_a_proxy_that_minds_no_ttl(traced: Traced, told: tuple[StackOption, ...], words: str) -> None:
    code, lines, complaint = traced(told)
    assert (code, lines) == (1, [" 1  a.example  #"])
    assert complaint == f"socks6: asked for a TTL of 1, the proxy {words}: routers may be missing here\n"


def test_what_is_no_routers_fault_ends_the_trace(run: Run) -> None:
    with pytest.raises(GeneralFailure):
        outcome(run, ConnectionTrace(Way(GeneralFailure("")), HOST, 80, probes=2).run(9))


def test_a_proxy_that_is_not_there_is_no_row_of_stars(run: Run) -> None:
    with pytest.raises(ProxyUnreachable, match="nobody there"):
        outcome(run, ConnectionTrace(Way(there=False), HOST, 80, probes=1).run(9))
