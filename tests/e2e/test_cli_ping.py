"""socks6 ping."""

import re
import signal

import pytest

from tests.kit.origins import refusing_place
from tests.kit.processes import END_SECONDS, socks6, started
from tests.kit.proxies import server

pytestmark = pytest.mark.e2e


def test_three_rounds_and_what_they_come_to() -> None:
    with server("--user", "alice:s3cret") as running:
        environment = {"SOCKS6_PROXY": running.as_user("alice", "s3cret")}
        ended = socks6("ping", "-c", "3", "-i", "0.01", environment=environment)
    assert (ended.code, ended.errors) == (0, "")
    lines = ended.output.decode().splitlines()
    assert lines[0] == f"NOOP {running.as_user('alice', '***')}"
    assert all(re.fullmatch(rf"seq={n} time=[0-9.]+ ms", lines[n]) for n in (1, 2, 3))
    assert lines[5].startswith("3 requests, 3 replies, 0% loss, time ")
    assert re.fullmatch(r"round trip min/avg/max/mdev = [0-9.]+(/[0-9.]+){3} ms", lines[6])


def test_the_url_may_come_from_the_environment() -> None:
    with server() as running:
        assert socks6("ping", "-c", "1", environment={"SOCKS6_PROXY": running.url}).code == 0


def test_a_wrong_password_is_no_answer() -> None:
    with server("--user", "alice:s3cret") as running:
        ended = socks6("ping", "-c", "1", running.as_user("alice", "guess"))
    assert ended.code == 1
    assert b"seq=1 failed: the proxy refused" in ended.output
    assert b"1 requests, 0 replies, 100% loss" in ended.output


def test_nobody_there() -> None:
    with refusing_place() as nobody:
        ended = socks6("ping", "-c", "1", f"socks6://{nobody.host}:{nobody.port}")
    assert ended.code == 1
    assert b"Connection refused" in ended.output


def test_ctrl_c_ends_in_the_statistics() -> None:
    with server() as running, started("ping", "-i", "30", running.url) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(b"seq=1 "):
            pass
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=END_SECONDS)
    assert b"1 requests, 1 replies" in output
    assert (process.returncode, errors) == (0, b"")
