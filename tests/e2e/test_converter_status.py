"""The converter says how it is: at its start, and to its clients, whatever fails on the way out."""

import socket
import time
from collections.abc import Callable

import pytest

from tests.kit.proxies import Proxy, converter, server

pytestmark = pytest.mark.e2e

PATIENCE = 10.0


def said(running: Proxy, words: str) -> str:
    """Return the first line with these words, once it is there."""
    return eventually(lambda: next((line for line in running.said if words in line), ""))


def eventually(found: Callable[[], str]) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (text := found()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text


def test_it_says_through_whom_it_goes_and_no_password() -> None:
    with (
        server("--user", "alice:s3cret") as far,
        converter(far.as_user("alice", "s3cret"), "--via-check") as near,
    ):
        line = said(near, "through ")
        place = far.url.removeprefix("socks6://")
        assert line.startswith(f"through socks6://alice@{place}, ")
        assert line.strip().endswith(" ms")
        assert not any("s3cret" in line for line in near.said)
    assert near.said == [line]


def test_it_says_why_the_way_out_does_not_work_and_serves_on() -> None:
    with (
        server("--user", "alice:s3cret") as far,
        converter(far.as_user("alice", "wrong"), "--via-check") as near,
    ):
        line = said(near, "upstream down")
        assert "WARNING" in line
        assert "refused" in line
        assert "wrong" not in line
        with socket.create_connection((near.place.host, near.place.port), PATIENCE) as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2) == b"\x05\x00"
