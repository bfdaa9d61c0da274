"""socks6 ping --options, with a proxy that answers as told; tests/e2e asks real ones."""

import pytest
from typing_extensions import override

from socks6.cli.options import EVERYTHING, NOOP, show_options
from socks6.client.bind import BindListener
from socks6.client.client import Client, Timeout
from socks6.client.options import Options, flatten
from socks6.client.stream import ProxiedStream
from socks6.errors import ConnectionRefused, NotAllowed, OperationFailed, ProxyUnreachable
from socks6.message.options import HappyEyeballs, Multipath, NoFragmentation, StackOption, Tfo, Tos, Ttl
from socks6.net.stream import Endpoint
from tests.kit.loops import Run
from tests.kit.memory import memory_stream_pair
from tests.kit.outcome import outcome

TOS_BOTH, TTL_BOTH, WHOLE, RACED, _, MULTIPATH = EVERYTHING
TARGET = ("a.example", 80)


class Answering(Client):
    """Answers these of the options that a request has, and keeps what was asked of it."""

    def __init__(
        self, *answers: StackOption, url: str = "socks6://192.0.2.1", failure: Exception | None = None
    ) -> None:
        super().__init__(url)
        self._answers = answers
        self._failure = failure
        self.asked: list[tuple[str, int, bytes, Options]] = []

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
        self.asked.append((host, port, initial_data, options))
        if self._failure:
            raise self._failure
        kinds = {type(option) for option in flatten(options)}
        answers = tuple(option for option in self._answers if type(option) in kinds)
        return ProxiedStream(memory_stream_pair()[0], Endpoint("192.0.2.1", 1), answers)

    @override
    async def bind(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        backlog: int = 0,
        options: Options = (),
        eager: bool = True,
        timeout: Timeout = "client",
    ) -> BindListener:
        raise self._failure or AssertionError("it connects to itself")


def verdicts(
    run: Run, capsys: pytest.CaptureFixture[str], *answers: StackOption, named: bool = True
) -> list[str]:
    """Return the lines of the table."""
    assert outcome(run, show_options(Answering(*answers), TARGET if named else None)) == 0
    return capsys.readouterr().out.splitlines()


def test_everything_is_honoured(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    told = (TOS_BOTH, TTL_BOTH, WHOLE, RACED, Tfo(payload_size=16), MULTIPATH)
    assert verdicts(run, capsys, *told) == [
        "options of socks6://192.0.2.1:1080, on the way to a.example:80",
        "option          asked  client leg  remote leg  verdict",
        "tos             0x28   0x28        0x28        honoured",
        "ttl             60     60          60          honoured",
        "df              yes    yes         yes         honoured",
        "happy-eyeballs  yes    -           yes         honoured",
        "tfo             any    -           16 bytes    honoured",
        "mptcp           yes    -           yes         honoured",
    ]


def test_nothing_is_answered(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = verdicts(run, capsys)[2:]
    assert lines[0] == "tos             0x28   no answer   no answer   not supported"
    assert all(line.endswith("  not supported") for line in lines)


def test_answers_differ_by_leg(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    told = (
        Tos(leg=1, tos=0x28),
        Tos(leg=2, tos=0),
        Ttl(leg=3, ttl=64),
        NoFragmentation(leg=2, availability=2),
    )
    assert verdicts(run, capsys, *told)[2:5] == [
        "tos             0x28   0x28        0x00        honoured on the client leg alone",
        "ttl             60     64          64          supported, not honoured",
        "df              yes    no answer   yes         honoured on the remote leg alone",
    ]


def test_what_is_answered_with_no_is_supported(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = verdicts(run, capsys, HappyEyeballs(availability=1), Multipath(availability=1))
    assert lines[5] == "happy-eyeballs  yes    -           no          supported, not honoured"
    assert lines[7] == "mptcp           yes    -           no          supported, not honoured"


def test_without_data_there_is_nothing_to_go_into_the_syn(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = verdicts(run, capsys, Tfo(payload_size=0))[6:7]
    assert line.endswith("0 bytes     supported; not tested: there was nothing to send")


def test_with_data_a_syn_without_any_honours_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = verdicts(run, capsys, Tfo(payload_size=0), named=False)[6:7]
    assert line.endswith("0 bytes     supported, not honoured")


def test_an_address_is_not_raced_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = verdicts(run, capsys, named=False)[5:6]
    assert line.endswith("no answer   not tested: it takes a name to connect to")


def test_an_ipv6_address_is_written_in_brackets(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(run, show_options(Answering(), ("::1", 80))) == 0
    assert "on the way to [::1]:80\n" in capsys.readouterr().out


def test_unasked_answers_are_no_fault(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdicts(run, capsys, TOS_BOTH, Tos(leg=2, tos=3))[2].endswith("supported, not honoured") is False


def test_every_option_is_asked_for_and_mptcp_alone(run: Run) -> None:
    client = Answering()
    outcome(run, show_options(client, None))
    asked = [flatten(options) for *_, options in client.asked]
    assert {option for options in asked for option in options} == set(EVERYTHING)
    assert (MULTIPATH,) in asked
    assert {request[:3] for request in client.asked} == {("192.0.2.1", 1080, NOOP)}


def test_a_stranger_is_told_nothing(run: Run) -> None:
    client = Answering()
    outcome(run, show_options(client, TARGET))
    assert {request[:3] for request in client.asked} == {(*TARGET, b"")}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("socks6://192.0.2.1", "the proxy replied 02, not allowed"),
        ("socks6+unix:///run/socks6", "a Unix socket leads nowhere from the proxy"),
    ],
)
def test_a_proxy_that_connects_to_no_port_of_its_own(
    run: Run, capsys: pytest.CaptureFixture[str], url: str, why: str
) -> None:
    client = Answering(url=url, failure=NotAllowed("the proxy replied 02, not allowed"))
    assert outcome(run, show_options(client, None)) == 1
    assert capsys.readouterr().err == (
        f"socks6: asked to connect to itself, {why}; asked for a port of ours, the proxy replied 02, not allowed:"
        " name a host by --target HOST:PORT\n"
    )


@pytest.mark.parametrize("failure", [ConnectionRefused("as told"), ProxyUnreachable("as told")])
def test_a_target_that_is_not_reached(run: Run, failure: OperationFailed | ProxyUnreachable) -> None:
    with pytest.raises(type(failure), match="as told"):
        outcome(run, show_options(Answering(failure=failure), TARGET))


def test_a_proxy_that_is_not_there(run: Run) -> None:
    with pytest.raises(ProxyUnreachable):
        outcome(run, show_options(Answering(failure=ProxyUnreachable("")), None))
