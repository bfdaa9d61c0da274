"""Log lines."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable

import pytest
from typing_extensions import override

from socks6.observability.logs import FLOOD_SECONDS, LINES, LogObserver
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
    SourcePenalized,
    Stopping,
    UnexpectedError,
    UpstreamDown,
    UpstreamUp,
    UserRefused,
)
from tests.kit.loops import Run

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
        ("WARNING", "upstream up url=socks6://far:1080 down_for=12.500"),
    ]


def test_however_it_ends_it_is_the_same_line() -> None:
    line = ended(ending=Ending.UNAUTHENTICATED, user="", host="", command="", reply=-1, reason="no such user")
    assert line.startswith("connection ended source=203.0.113.5 ")
    assert "reply=" not in line
    assert "port=" not in line
    assert ended(ending=Ending.REFUSED).startswith("connection ended source=203.0.113.5 ")


def test_connections_have_a_logger_of_their_own() -> None:
    observer, lines = observed(level=logging.INFO)
    access = logging.Logger("access", logging.WARNING)  # noqa: LOG001  as above
    quiet = LogObserver(observer._logger, access=access, log_destinations=False)
    assert ConnectionEnded not in EventHub([quiet]).wanted
    assert UserRefused in EventHub([quiet]).wanted
    quiet.observe(SUMMARY)
    assert lines == []


def test_hostile_values_stay_within_their_field() -> None:
    line = ended(
        user='a" source=192.0.2.1\nauthentication failed source=192.0.2.1', host="x\x1b[31m\x7f\u2028"
    )
    assert len(line.splitlines()) == 1
    assert r'user="a\" source=192.0.2.1\nauthentication failed source=192.0.2.1" ' in line
    assert r'host="x\u001b[31m\u007f\u2028" ' in line


def test_a_new_connection_is_for_debugging() -> None:
    observer, lines = observed()
    observer.observe(ConnectionOpened(id=7, source="203.0.113.5", inbound="socks6"))
    assert lines == [("DEBUG", "connection opened source=203.0.113.5 id=7 inbound=socks6")]


def test_clients_turned_away_are_told() -> None:
    observer, lines = observed()
    observer.observe(LimitReached(source="2001:db8::1", reason="too many connections"))
    assert lines == [("WARNING", 'limit reached source=2001:db8::1 reason="too many connections"')]


def test_a_pause_in_accepting_is_a_warning() -> None:
    observer, lines = observed()
    observer.observe(AcceptPaused(url="socks6://[::1]:1080", reason="Too many open files"))
    assert lines == [("WARNING", 'accept paused url=socks6://[::1]:1080 reason="Too many open files"')]


def refusals(observer: LogObserver, source: str, count: int) -> None:
    for number in range(count):
        observer.observe(
            UserRefused(id=number, source=source, inbound="http", user="alice", reason="wrong credentials")
        )


def test_a_refused_login_is_a_warning_that_begins_with_its_source() -> None:
    observer, lines = observed(level=logging.WARNING)
    refusals(observer, "2001:db8::5", 1)
    assert lines == [
        (
            "WARNING",
            'authentication failed source=2001:db8::5 id=0 inbound=http user=alice reason="wrong credentials"',
        )
    ]


def test_one_source_does_not_flood_the_log_nor_hide_others() -> None:
    moments = [0.0]
    observer, lines = observed(clock=lambda: moments[0])
    refusals(observer, "192.0.2.1", 1000)
    refusals(observer, "192.0.2.2", 3)
    assert [
        sum(f"source={source} " in line for _, line in lines) for source in ("192.0.2.1", "192.0.2.2")
    ] == [10, 3]
    moments[0] = FLOOD_SECONDS
    refusals(observer, "192.0.2.1", 1)
    assert lines[13] == (
        "WARNING",
        'lines suppressed lines="authentication failed" count=990 seconds=10.000',
    )
    assert len(lines) == 15


def test_neither_do_many_sources() -> None:
    observer, lines = observed(clock=lambda: 0.0)
    for number in range(5000):
        refusals(observer, f"192.0.{number >> 8}.{number & 255}", 1)
        observer.observe(SourcePenalized(source=f"::{number:x}", user="", seconds=60.0))
    assert len(lines) == 200


def test_what_was_left_out_is_told_though_nothing_follows(run: Run) -> None:
    async def scene() -> None:
        moments = [0.0]
        observer, lines = observed(clock=lambda: moments[0])
        refusals(observer, "192.0.2.1", 10)
        moments[0] = FLOOD_SECONDS - 0.01
        refusals(observer, "192.0.2.1", 2)
        assert len(lines) == 10
        await asyncio.sleep(0.1)
        assert "count=2 " in lines[-1][1]

    run(scene())


def test_a_listener_that_pauses_over_and_over_has_one_line_in_a_period() -> None:
    observer, lines = observed(clock=lambda: 0.0)
    for _ in range(100):
        observer.observe(AcceptPaused(url="socks6://[::1]:1080", reason="full"))
    observer.observe(AcceptPaused(url="mixed://[::1]:1080", reason="full"))
    assert len(lines) == 2


def test_a_flood_is_limited_by_a_field_that_the_event_has() -> None:
    for event, line in LINES.items():
        assert not line.origin or line.origin in {field.name for field in dataclasses.fields(event)}


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
    assert lines == [("DEBUG", 'no datagrams over UDP url=socks6+tls://h:8389 reason="DTLS needs an extra"')]


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
