"""What is told of a connection, and the observer that tells nobody."""

import dataclasses

import pytest

from socks6.telemetry import ConnectionSummary, Ending, NullObserver

SUMMARY = ConnectionSummary(
    id=1,
    inbound="socks6",
    source="192.0.2.1",
    user="",
    command="CONNECT",
    host="example.com",
    port=443,
    ending=Ending.DONE,
    reply=0,
    reason="",
    seconds=1.5,
    bytes_up=10,
    bytes_down=20,
)


def test_summary_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SUMMARY.user = "eve"  # type: ignore[misc]  # the very thing that is tested


def test_endings_are_words_for_logs() -> None:
    assert all(ending.value.replace("-", "").isalpha() and ending.value.islower() for ending in Ending)


def test_null_observer_takes_everything() -> None:
    observer = NullObserver()

    observer.listening("socks6://127.0.0.1:1080")
    observer.connection_opened(1, "192.0.2.1")
    observer.connection_ended(SUMMARY)
    observer.connection_turned_away("192.0.2.1", "too many connections")
    observer.accept_paused("socks6://127.0.0.1:1080", "no descriptors left")
    observer.unexpected_error("connection 1", ValueError("x"))
    observer.stopping(3)
