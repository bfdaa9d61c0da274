"""A users database, as an operator manages it while others use the proxy."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.kit.origins import PAGE, web_site
from tests.kit.processes import socks6
from tests.kit.proxies import ENVIRONMENT, Proxy, curl, curl_line, server

PATIENCE: Final = 10.0
QUOTA: Final = 2_000_000

pytestmark = pytest.mark.e2e


class Users:
    """Runs `socks6 users` on a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __call__(self, *words: str, typed: bytes = b"") -> str:
        ended = socks6("users", *words, "--users-db", self.path, typed=typed)
        assert ended.code == 0, ended.errors
        return ended.output.decode()

    def remaining(self, name: str) -> int:
        return int(json.loads(self("show", name, "--json"))["remaining"])


@pytest.fixture
def users(tmp_path: Path) -> Users:
    made = Users(tmp_path / "users.db")
    for name in ("alice", "bob"):
        made("add", name, "--down", "1M", typed=b"secret\n")
    return made


def eventually(fact: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE
    while not fact() and time.monotonic() < until:
        time.sleep(0.02)
    return fact()


def as_user(running: Proxy, name: str = "alice") -> tuple[str, str]:
    return "--proxy", f"socks5h://{name}:secret@{running.authority}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("remove", "alice"), "the user was removed"),
        (("set", "alice", "--expires", "2020-01-01"), "the user has expired"),
    ],
)
def test_a_download_ends_with_its_user_and_no_other(
    users: Users, change: tuple[str, ...], reason: str
) -> None:
    with (
        web_site() as site,
        server("--listen", "mixed://127.0.0.1:0", "-v", "--users-db", users.path) as running,
    ):
        slow = ("--output", "/dev/null", f"{site.url}/big/50000000")
        downloads = [
            subprocess.Popen(
                curl_line(*as_user(running, name), *slow), env=ENVIRONMENT, stderr=subprocess.DEVNULL
            )
            for name in ("alice", "bob")
        ]
        try:
            assert eventually(lambda: len(site.seen) == len(downloads))
            users(*change)
            assert downloads[0].wait(PATIENCE) == 56  # the connection was reset
            assert curl(*as_user(running), site.url).code == 97
            assert curl(*as_user(running, "bob"), site.url).body == PAGE
            assert downloads[1].poll() is None
        finally:
            for download in downloads:
                download.kill()
                download.wait()
    (line,) = [line for line in running.said if "ending=kicked" in line]
    assert f'user=alice command=CONNECT ending=kicked reply=0 reason="{reason}"' in line


def test_a_quota_outlives_a_server_that_is_killed(users: Users) -> None:
    users("set", "alice", "--down", "0", "--quota", str(QUOTA))
    with web_site() as site:
        listen = ("--listen", "mixed://127.0.0.1:0", "--users-db", users.path)
        with server(*listen, ends_with=-signal.SIGKILL) as running:
            assert curl(*as_user(running), f"{site.url}/big/1500000").code == 0
            assert eventually(lambda: users.remaining("alice") < QUOTA - 1_500_000)
            running.process.send_signal(signal.SIGKILL)
        with server(*listen) as running:
            fetched = curl(*as_user(running), f"{site.url}/big/1500000")
            assert fetched.code != 0
            assert QUOTA - 1_520_000 < len(fetched.body) <= QUOTA - 1_500_000
            assert curl(*as_user(running), site.url).code == 97
            users("set", "alice", "--quota", "0")
            assert eventually(lambda: curl(*as_user(running), site.url).body == PAGE)
