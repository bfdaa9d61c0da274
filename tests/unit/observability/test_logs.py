"""Log lines."""

import dataclasses
import logging
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from socks6.observability.logs import LogObserver, format_fields
from socks6.telemetry import (
    AcceptPaused,
    CertificateRead,
    ConnectionEnded,
    ConnectionOpened,
    DtlsUnavailable,
    Ending,
    EventHub,
    LimitReached,
    Listening,
    RequestMade,
    Stopping,
    UnexpectedError,
    UpstreamDown,
    UpstreamUp,
)

SUMMARY = ConnectionEnded(
    id=7,
    inbound="socks6",
    source="203.0.113.5",
    user="alice",
    command="CONNECT",
    host="example.com",
    port=443,
    ending=Ending.DONE,
    reply=0,
    reason="",
    seconds=1.23456,
    bytes_up=10,
    bytes_down=2000,
)


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, self.format(record)))


def observed(
    *,
    log_destinations: bool = True,
    level: int = logging.DEBUG,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[LogObserver, list[tuple[str, str]]]:
    """Return an observer, and the lines that it writes."""
    handler = Lines()
    logger = logging.Logger("test", level)  # noqa: LOG001  not one of the process's loggers
    logger.addHandler(handler)
    return LogObserver(logger, log_destinations=log_destinations, clock=clock), handler.lines


def ended(*, log_destinations: bool = True, **changes: object) -> str:
    """Return the line for a connection that ended so."""
    observer, lines = observed(log_destinations=log_destinations)
    observer.observe(dataclasses.replace(SUMMARY, **changes))  # type: ignore[arg-type]  # any field
    ((level, line),) = lines
    assert level == "INFO"
    return line


def test_a_connection_is_one_line_when_it_has_ended() -> None:
    assert ended() == (
        "connection ended source=203.0.113.5 id=7 inbound=socks6 user=alice command=CONNECT host=example.com"
        " port=443 ending=done reply=0 seconds=1.235 up=10 down=2000"
    )


def test_what_a_connection_had_to_do_with_sessions_is_told_in_two_words() -> None:
    assert " port=443 session=yes token=rejected ending=refused " in ended(
        session="yes", token="rejected", ending=Ending.REFUSED
    )


def test_destinations_are_logged_only_if_asked_for() -> None:
    line = ended(log_destinations=False)
    assert "example.com" not in line
    assert "443" not in line


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.RESET, Ending.ERROR])
def test_neither_are_reasons_that_may_name_them(ending: Ending) -> None:
    reason = "connecting to 93.184.216.34 failed"
    assert "reason" not in ended(log_destinations=False, ending=ending, reason=reason)
    assert "93.184.216.34" in ended(ending=ending, reason=reason)


def test_other_reasons_are_logged_always() -> None:
    line = ended(log_destinations=False, ending=Ending.REFUSED, reason="loopback address", reply=2)
    assert 'ending=refused reply=2 reason="loopback address"' in line
    line = ended(log_destinations=False, ending=Ending.UPSTREAM, reason="upstream: far is down", reply=1)
    assert 'ending=upstream reply=1 reason="upstream: far is down"' in line


def test_an_upstream_that_is_back_is_as_loud_as_one_that_went() -> None:
    observer, lines = observed(log_destinations=False, level=logging.WARNING)
    hub = EventHub([observer])
    hub.observe(UpstreamUp(url="socks6://far:1080"))
    hub.observe(UpstreamDown(url="socks6://far:1080", reason="no route"))
    hub.observe(UpstreamUp(url="socks6://far:1080", down_for=12.5))
    assert lines == [
        ("WARNING", 'upstream down url=socks6://far:1080 reason="no route"'),
        ("WARNING", "upstream up url=socks6://far:1080 down_for=12.5"),
    ]


def test_a_failed_authentication_begins_with_fixed_words_and_the_source() -> None:
    line = ended(ending=Ending.UNAUTHENTICATED, user="", host="", command="", reply=-1, reason="no such user")
    assert line.startswith("authentication failed source=203.0.113.5 ")
    assert "reply=" not in line
    assert "port=" not in line


def test_a_refusal_begins_with_fixed_words_and_the_source() -> None:
    assert ended(ending=Ending.REFUSED).startswith("refused source=203.0.113.5 ")


def test_hostile_values_stay_within_their_field() -> None:
    line = ended(
        user='a" source=192.0.2.1\nauthentication failed source=192.0.2.1', host="x\x1b[31m\x7f\u2028"
    )
    assert len(line.splitlines()) == 1
    assert r'user="a\" source=192.0.2.1\nauthentication failed source=192.0.2.1" ' in line
    assert r'host="x\u001b[31m\u007f\u2028" ' in line


@given(st.text())
def test_any_value_is_one_printable_field(value: str) -> None:
    text = format_fields({"user": value, "end": 1})
    assert text.endswith(" end=1")
    assert text.isascii()
    assert text.isprintable()
    quoted = text.removesuffix(" end=1").removeprefix(" user=")
    assert quoted.startswith('"') == quoted.endswith('"')
    assert quoted.startswith('"') or " " not in quoted


def test_what_is_empty_is_left_out() -> None:
    assert format_fields({"a": "", "b": 0}) == " b=0"


def test_a_new_connection_is_for_debugging() -> None:
    observer, lines = observed()
    observer.observe(ConnectionOpened(id=7, source="203.0.113.5", inbound="socks6"))
    assert lines == [("DEBUG", "connection opened id=7 source=203.0.113.5 inbound=socks6")]


def test_clients_turned_away_are_told() -> None:
    observer, lines = observed()
    observer.observe(LimitReached(source="2001:db8::1", reason="too many connections"))
    assert lines == [("INFO", 'limit reached source=2001:db8::1 reason="too many connections"')]


def test_a_pause_in_accepting_is_a_warning() -> None:
    observer, lines = observed()
    observer.observe(AcceptPaused(url="socks6://[::1]:1080", reason="Too many open files"))
    assert lines == [("WARNING", 'accept paused url=socks6://[::1]:1080 reason="Too many open files"')]


def test_pauses_that_follow_each_other_are_told_together() -> None:
    moments = [0.0, 0.1, 9.9, 10.1, 15.0, 30.0, 50.0]
    clock = iter([*moments, 50.0])
    observer, lines = observed(clock=lambda: next(clock))
    for _ in moments:
        observer.observe(AcceptPaused(url="socks6://[::1]:1080", reason="full"))
    observer.observe(AcceptPaused(url="mixed://[::1]:1080", reason="full"))
    assert [line.removeprefix("accept paused url=") for _, line in lines] == [
        "socks6://[::1]:1080 reason=full",
        "socks6://[::1]:1080 reason=full times=3",
        "socks6://[::1]:1080 reason=full times=2",
        "socks6://[::1]:1080 reason=full",
        "mixed://[::1]:1080 reason=full",
    ]


def test_stopping_is_told() -> None:
    observer, lines = observed()
    observer.observe(Stopping(connections=3))
    assert lines == [("INFO", "stopping connections=3")]


def test_a_fault_of_ours_comes_with_its_traceback() -> None:
    observer, lines = observed()
    try:
        raise RuntimeError("oh\nauthentication failed source=192.0.2.1\x1b")
    except RuntimeError as error:
        observer.observe(UnexpectedError(where="serving a client", error=error))
    ((level, line),) = lines
    first, *rest = line.splitlines()
    assert (level, first) == ("ERROR", 'unexpected error where="serving a client"')
    assert all(row.startswith("! ") for row in rest)
    assert rest[0] == "! Traceback (most recent call last):"
    assert rest[-1] == r"! authentication failed source=192.0.2.1\u001b"


def test_listening_is_told_by_the_command_itself() -> None:
    observer, lines = observed()
    observer.observe(Listening(url="socks6://127.0.0.1:1080"))
    assert lines == []


def test_a_quiet_logger_is_given_nothing() -> None:
    observer, lines = observed(level=logging.WARNING)
    observer.observe(ConnectionOpened(id=7, source="203.0.113.5", inbound="socks6"))
    observer.observe(SUMMARY)
    observer.observe(Stopping(connections=0))
    assert lines == []


def test_a_listener_without_dtls_is_told_with_what_would_help() -> None:
    observer, lines = observed()
    observer.observe(DtlsUnavailable(url="socks6+tls://h:8389", reason="DTLS needs an extra"))
    assert lines == [("INFO", 'no datagrams over UDP url=socks6+tls://h:8389 reason="DTLS needs an extra"')]


def test_debugging_shows_every_event_in_its_own_words() -> None:
    observer, lines = observed()
    observer.observe(RequestMade(id=7, user="alice", command="CONNECT", host="example.com", port=443))
    assert lines == [("DEBUG", "request made id=7 user=alice command=CONNECT host=example.com port=443")]


def test_destinations_are_hidden_in_every_event() -> None:
    observer, lines = observed(log_destinations=False)
    observer.observe(RequestMade(id=7, user="alice", command="CONNECT", host="example.com", port=443))
    assert lines == [("DEBUG", "request made id=7 user=alice command=CONNECT")]


def test_a_certificate_that_cannot_be_read_is_a_warning() -> None:
    observer, lines = observed()
    observer.observe(CertificateRead(path="/a.pem"))
    observer.observe(CertificateRead(path="/a.pem", reason="gone"))
    assert lines == [
        ("INFO", "certificate read anew path=/a.pem"),
        ("WARNING", "certificate not read path=/a.pem reason=gone"),
    ]


def test_events_below_the_loggers_level_are_not_even_made() -> None:
    hub = EventHub([observed(level=logging.INFO)[0]])
    assert ConnectionEnded in hub.wanted
    assert RequestMade not in hub.wanted
    assert ConnectionEnded not in EventHub([observed(level=logging.WARNING)[0]]).wanted
    assert RequestMade in EventHub([observed()[0]]).wanted
