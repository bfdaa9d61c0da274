"""Did you mean ...?"""

import pytest

from socks6.suggestion import closest, suggestion, suggestion_or_all

COMMANDS = (
    "server",
    "client",
    "ping",
    "trace",
    "connect",
    "forward",
    "bind",
    "check",
    "passwd",
    "cert",
    "share",
)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("servr", "server"),
        ("sevrer", "server"),  # two exchanged
        ("Server", "server"),
        ("conect", "connect"),
        ("paswrd", "passwd"),
        ("bin", "bind"),
        ("pong", "ping"),
        ("forw", "forward"),  # a beginning
        ("poof", None),  # three edits of four characters
        ("workers", None),
        ("metrics", None),
        ("", None),
        ("--", None),
        ("x", None),
    ],
)
def test_a_slip_is_within_two_edits_or_a_beginning(word: str, meant: str | None) -> None:
    assert closest(word, COMMANDS) == meant


def test_what_may_be_two_words_is_none() -> None:
    assert closest("tt", ("ta", "tb")) is None
    assert closest("liste", ("listen", "listed")) is None
    assert closest("lis", ("listen", "list-all")) is None


def test_the_words_are_ready_for_a_message() -> None:
    assert suggestion("listn", ("listen", "users")) == ", did you mean listen?"
    assert suggestion("speed", ("listen", "users")) == ""
    assert suggestion_or_all("listn", ("listen", "users")) == ", did you mean listen?"
    assert suggestion_or_all("speed", ("listen", "users")) == "; there are listen, users"
