"""socks6 ping, with a proxy that answers as told; tests/e2e pings real ones."""

import asyncio
import os
import re
import signal

import pytest
from typing_extensions import override

from socks6.cli.ping import Pinging, milliseconds, summary
from socks6.client.client import Client, Timeout
from socks6.errors import ProxyUnreachable
from tests.kit.loops import Run


class Answering(Client):
    """Answers each round as told, and interrupts what comes after."""

    def __init__(self, *answers: float | Exception) -> None:
        super().__init__("socks6://alice:s3cret@proxy.example")
        self._answers = list(answers)

    @override
    async def noop(self, *, timeout: Timeout = "client") -> float:
        if not self._answers:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_rounds_are_told_one_by_one(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pinging = Pinging(Answering(0.001, ProxyUnreachable("nobody there"), 0.003), 0.001, 3)
    run(pinging.run())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "NOOP socks6://alice:***@proxy.example:1080",
        "seq=1 time=1.00 ms",
        "seq=2 failed: nobody there",
        "seq=3 time=3.00 ms",
        "--- socks6://alice:***@proxy.example:1080 ---",
    ]
    assert re.fullmatch(r"3 requests, 2 replies, 33.33% loss, time \d+ ms", lines[5])
    assert lines[6] == "round trip min/avg/max/mdev = 1.00/2.00/3.00/1.00 ms"


def test_ctrl_c_goes_on_to_the_statistics(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pinging = Pinging(Answering(0.001), 0.001, None)
    run(pinging.run())
    assert pinging.times == [0.001]
    assert "2 requests, 1 replies, 50% loss" in capsys.readouterr().out


def test_replies_and_their_times() -> None:
    assert summary([0.001, 0.002, 0.003], sent=4, elapsed=3.0041) == [
        "4 requests, 3 replies, 25% loss, time 3004 ms",
        "round trip min/avg/max/mdev = 1.00/2.00/3.00/0.816 ms",
    ]


def test_no_reply_has_no_times() -> None:
    assert summary([], sent=2, elapsed=1.0) == ["2 requests, 0 replies, 100% loss, time 1000 ms"]


def test_no_request_is_no_loss() -> None:
    assert summary([], sent=0, elapsed=0.0) == ["0 requests, 0 replies, 0% loss, time 0 ms"]


def test_one_reply_does_not_deviate() -> None:
    assert summary([0.0123], sent=1, elapsed=0.02)[1].endswith("/0.000 ms")


def test_a_third_lost() -> None:
    assert "33.33% loss" in summary([0.1, 0.1], sent=3, elapsed=1.0)[0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0001234, "0.123"), (0.001234, "1.23"), (0.01234, "12.3"), (1.234, "1234")]
)
def test_three_digits_count(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
