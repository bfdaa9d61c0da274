"""The log as operators and their tools read it: fail2ban, logrotate, a full disk."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.kit.processes import socks6
from tests.kit.proxies import ENVIRONMENT, Proxy, curl, server

FILTER: Final = Path(__file__).parents[2] / "packaging" / "fail2ban" / "socks6.conf"
LISTENERS: Final = ("--listen", "mixed://127.0.0.1:0", "--listen", "mixed://[::1]:0")
USERS: Final = {"SOCKS6_USERS": "alice:s3cret"}
PATIENCE: Final = 10.0

pytestmark = pytest.mark.e2e


def eventually(fact: Callable[[], bool]) -> bool:
    """Return whether something is true soon."""
    until = time.monotonic() + PATIENCE
    while not fact() and time.monotonic() < until:
        time.sleep(0.01)
    return fact()


def guess(running: Proxy, user: str = "alice") -> None:
    """Try wrong passwords: twice over IPv4 by SOCKS 5, once over IPv6 by HTTP, that for a hostile name."""
    first, second = (url.rpartition("/")[2] for url in running.urls)
    for _ in range(2):
        assert curl("--socks5", first, "--proxy-user", f"{user}:wrong", "http://127.0.0.1:1/").code == 97
    hostile = 'x" \nWARNING authentication failed source=192.0.2.9 '
    assert curl("--proxy", second, "--proxy-user", f"{hostile}:wrong", "http://127.0.0.1:1/").status == 407


def refusals(log: Path) -> int:
    """Return how many lines of a log are refused logins."""
    lines = log.read_text().splitlines() if log.exists() else []
    return sum("WARNING authentication failed" in line for line in lines)


def banned(log: Path) -> list[str]:
    """Return the addresses that fail2ban finds in a log."""
    if shutil.which("fail2ban-regex") is None:
        pytest.skip("fail2ban is not installed")
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", str(log), str(FILTER)], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def rotated(folder: Path, log: Path, *how: str) -> None:
    """Have logrotate rotate a log now."""
    if shutil.which("logrotate") is None:
        pytest.skip("logrotate is not installed")
    config = folder / "logrotate.conf"
    config.write_text("\n".join([f"{log} {{", *how, "rotate 3", "}"]))
    subprocess.run(["logrotate", "--force", "--state", str(folder / "state"), str(config)], check=True)


def test_wrong_passwords_are_warnings_which_fail2ban_finds(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for form in ("text", "json"):
        with server(*LISTENERS, "--log-format", form, environment=USERS) as running:
            guess(running)
            assert eventually(lambda: len(running.said) >= 3)
        assert all("WARNING" in line and "authentication failed" in line for line in running.said[:3])
        with log.open("a") as file:
            file.writelines(running.said)
    assert banned(log) == 2 * ["127.0.0.1", "127.0.0.1", "::1"]


def test_standard_error_is_json_from_its_first_line_on() -> None:
    with server("--log-format", "json", "-v", environment=USERS) as running:
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: bool(running.said))
    assert [json.loads(line)["event"] for line in running.said] == ["reloaded", "stopping"]


@pytest.mark.parametrize("how", ["create 0600", "nocreate", "copytruncate"])
def test_logrotate_needs_no_signal(how: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(*LISTENERS, "--log-file", str(log), environment=USERS) as running:
        guess(running)
        assert eventually(lambda: refusals(log) == 3)
        rotated(tmp_path, log, how)
        guess(running, user="bob")
        assert eventually(lambda: refusals(log) == 3)
    assert "alice" in (tmp_path / "log.1").read_text()
    assert "alice" not in log.read_text()
    assert "bob" not in (tmp_path / "log.1").read_text()


def test_a_signal_makes_the_file_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server("--log-file", str(log), environment=USERS) as running:
        assert eventually(log.exists)
        log.rename(tmp_path / "log.1")
        running.process.send_signal(signal.SIGHUP)
        assert eventually(log.exists)
    assert "INFO reloaded" in log.read_text()


def test_a_full_disk_is_told_once_and_stops_nobody(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(*LISTENERS, "--log-file", str(log), environment=USERS) as running:
        assert eventually(log.exists)
        log.unlink()
        log.symlink_to("/dev/full")
        guess(running)
        guess(running)
        assert eventually(lambda: bool(running.said))
        log.unlink()
        guess(running)
        assert eventually(lambda: refusals(log) >= 3)
    assert running.said == [
        f"socks6: log file {log}: No space left on device; lines are lost until it can be written\n"
    ]
    assert " WARNING lines dropped count=" in log.read_text()


def test_the_database_has_what_was_and_is_read_while_the_server_runs(tmp_path: Path) -> None:
    path = tmp_path / "access.db"
    arguments = ("--log-db", str(path), *LISTENERS)
    with server(*arguments, environment=USERS) as running:
        guess(running)
        assert eventually(lambda: path.exists() and len(logged(path)) == 3)
        with subprocess.Popen(
            [sys.executable, "-m", "socks6", "log", "--log-db", str(path), "--follow"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        ) as following:
            assert following.stdout is not None
            assert following.stderr is not None
            assert following.stdout.readline().startswith("TIME ")
            assert all("unauthenticated" in following.stdout.readline() for _ in range(3))
            curl("--socks5", running.authority, "--proxy-user", "alice:s3cret", "http://127.0.0.1:1/")
            assert "alice" in following.stdout.readline()
            following.stdout.close()  # as a pager that is left
            curl("--socks5", running.authority, "--proxy-user", "alice:s3cret", "http://127.0.0.1:1/")
            assert following.stderr.read() == ""
    rows = logged(path, "--user", "alice", "--source", "127.0.0.0/8", "--since", "1h")
    assert [(row["command"], row["ending"], row["reply"]) for row in rows] == [("CONNECT", "failed", 5)] * 2
    assert not any("host" in row for row in rows)
    assert path.stat().st_mode & 0o777 == 0o600


def logged(path: Path, *flags: str) -> list[dict[str, object]]:
    """Return what `socks6 log` has of the connections that are wanted."""
    return [
        json.loads(line)
        for line in socks6("log", "--log-db", str(path), "--json", *flags).output.splitlines()
    ]
