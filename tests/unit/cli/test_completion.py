"""Completion."""

import os
import subprocess
import sys

import pytest

from socks6.cli.completion import FILES, Candidate, candidates, show
from socks6.cli.parser import COMMANDS

OURS = ["socks6://", "socks6+tls://", "socks6+quic://", "socks6+unix:///"]


def texts(line: str) -> list[str]:
    """Return the candidates at the end of a command line."""
    return [candidate.text for candidate in candidates(line.split(" ")[1:])]


def test_first_comes_a_command() -> None:
    assert texts("socks6 ") == list(COMMANDS)


def test_a_command_is_completed_and_explained() -> None:
    assert candidates(["cl"]) == [Candidate("client", COMMANDS["client"].summary)]


def test_without_any_word_there_are_commands() -> None:
    assert candidates([])[0].text == "server"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("socks6 --v", ["--version"]),
        ("socks6 server --lis", ["--listen"]),
        ("socks6 server --listen mi", ["mixed://"]),
        ("socks6 server --via ", [*OURS, "socks6+auto://"]),
        ("socks6 server --users any", [FILES]),
        ("socks6 server --loop a", ["auto", "asyncio"]),
        ("socks6 server --drain ", []),
        (
            "socks6 server --open --lo",
            [
                "--log-format",
                "--log-file",
                "--log-db",
                "--log-db-keep",
                "--log-destinations",
                "--loop",
                "--lookup-timeout",
            ],
        ),
        ("socks6 ping socks6+", [*OURS[1:], "socks6+auto://"]),
        ("socks6 ping -c 3 socks6+", [*OURS[1:], "socks6+auto://"]),
        ("socks6 connect example.com ", []),
        ("socks6 check ", [FILES]),
        ("socks6 check file --h", ["--help"]),
        ("socks6 completion ", ["bash", "zsh", "fish"]),
        ("socks6 nonsense cl", []),
    ],
)
def test_what_may_come_next(line: str, found: list[str]) -> None:
    assert texts(line) == found


def test_flags_come_when_nothing_else_may() -> None:
    assert texts("socks6 ping socks6://host ") == [
        "--help",
        "--via-file",
        "--count",
        "--interval",
        "--timeout",
        "--options",
        "--target",
        "--dialect212",
    ]


def test_a_flag_is_explained_in_a_few_words() -> None:
    meanings = {candidate.text: candidate.meaning for candidate in candidates(["server", "--"])}
    assert meanings["--idle-timeout"] == "seconds without a byte either way, then a connection is closed"
    assert meanings["--no-open"] == "the opposite of --open"
    assert max(map(len, meanings.values())) <= 70


def test_candidates_are_printed_with_a_tab_before_the_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["completion", "b"]) == 0
    assert show(["passw"]) == 0
    assert capsys.readouterr().out == "bash\npasswd\tmake a line for a users file\n"


def test_a_reader_that_goes_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "socks6", "completion", "zsh"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    os.close(writing)
    assert done.stderr == b""
