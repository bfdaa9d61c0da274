"""Every example does what it says."""

import contextlib
import hashlib
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.kit.footprint import eventually
from tests.kit.origins import PAGE, Site, refusing_place, web_site
from tests.kit.proxies import ENVIRONMENT, Proxy, curl, server
from tests.kit.udp_hosts import ADDRESS, name_server

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
CREDENTIALS: Final = ("alice", "wonderland")

pytestmark = pytest.mark.e2e


def line(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *map(str, arguments)]


def run(name: str, *arguments: object) -> str:
    """Run an example to its end; return what it printed."""
    result = subprocess.run(
        line(name, *arguments), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_every_example_is_tested() -> None:
    tested = re.findall(r'"(\w+\.(?:py|sh|toml))"', Path(__file__).read_text())
    assert {path.name for path in EXAMPLES.glob("*.*")} == set(tested)


def test_fetch() -> None:
    with server("--user", "alice:wonderland") as proxy, web_site() as site:
        assert PAGE.decode() in run("fetch.py", proxy.as_user(*CREDENTIALS), "localhost", site.port)


def test_fetch_https(tmp_path: Path) -> None:
    with server() as proxy, web_site(tls_folder=tmp_path) as site:
        page = run("fetch_https.py", proxy.url, "localhost", site.port, site.ca_file)
    assert PAGE.decode() in page


def test_fetch_https_trusts_nobody_by_default(tmp_path: Path) -> None:
    with server() as proxy, web_site(tls_folder=tmp_path) as site:
        words = line("fetch_https.py", proxy.url, "localhost", site.port)
        result = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "SSLCertVerificationError" in result.stderr
    assert site.seen == []


def test_reply_codes() -> None:
    with server() as proxy, refusing_place() as nobody, web_site() as site:
        assert run("reply_codes.py", proxy.url, nobody.host, nobody.port) == "nothing listens there\n"
        assert run("reply_codes.py", proxy.url, site.host, site.port).startswith("connected")
        assert run("reply_codes.py", proxy.url, "0.0.0.0", 80).startswith("reply code 2:")
        assert run("reply_codes.py", f"socks6://{nobody.host}:{nobody.port}", site.host, 80).startswith(
            "no proxy"
        )
    with server("--user", "alice:wonderland") as proxy:
        assert run("reply_codes.py", proxy.as_user("alice", "wrong"), site.host, 80) == (
            "not let in: the proxy refused the password of user alice\n"
        )


def test_once() -> None:
    with server("--user", "alice:wonderland") as proxy, web_site() as site:
        said = run("once.py", proxy.as_user(*CREDENTIALS), site.host, site.port).splitlines()
        assert said[0] == "session"
        assert [line.split()[1] for line in said[1:]] == ["200", "200"]
        assert [seen.method for seen in site.seen] == ["POST", "POST"]


def test_ask_name_server() -> None:
    with server() as proxy, name_server() as far:
        told = run("ask_name_server.py", proxy.url, far.host, far.port, "a.example")
    assert told.startswith("the server sees us at ")
    assert told.endswith(f"\n{ADDRESS}\n")


def test_serve() -> None:
    words = line("serve.py", "socks6://127.0.0.1:0", "mixed://127.0.0.1:0")
    with (
        web_site() as site,
        subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            urls = [process.stdout.readline().removeprefix("listening on ").strip() for _ in range(2)]
            place = urls[1].removeprefix("mixed://")
            fetched = curl("--proxy", f"socks5h://alice:wonderland@{place}", f"http://localhost:{site.port}")
            assert fetched.body == PAGE
            assert process.stdout.readline() == f"alice CONNECT localhost:{site.port} done\n"
        finally:
            process.terminate()
        assert eventually(lambda: process.poll() is not None)


def test_own_server() -> None:
    with (
        web_site() as site,
        subprocess.Popen(
            line("own_server.py", "mixed://127.0.0.1:0"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            place = process.stdout.readline().removeprefix("listening on mixed://").strip()
            for user, host, reply in [
                ("alice:wonderland", "localhost", "0"),
                ("alice:wonderland", "127.0.0.1", "2"),  # not in the database
                ("bob:builder", "localhost", ""),  # not from here
            ]:
                fetched = curl("--proxy", f"socks5h://{user}@{place}", f"http://{host}:{site.port}")
                assert (fetched.body == PAGE) is (reply == "0")
                said = process.stdout.readline()
                assert (said == f"alice {host}:{site.port} {reply}\n") is bool(reply), said
        finally:
            process.terminate()
        assert eventually(lambda: process.poll() is not None)
    assert len(site.seen) == 1


def let_in(proxy: Proxy, site: Site, *users: str) -> list[bool]:
    """Return of each NAME:PASSWORD whether curl gets the page."""
    url = f"http://localhost:{site.port}"
    return [curl("--proxy", f"socks5h://{user}@{proxy.authority}", url).body == PAGE for user in users]


def test_auth_command(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE users (name TEXT PRIMARY KEY, salt BLOB, hash BLOB, down INT)")
        derived = hashlib.scrypt(b"wonderland", salt=b"salt", n=2**14, r=8, p=1)
        database.execute("INSERT INTO users VALUES ('alice', ?, ?, 1000000)", (b"salt", derived))
    command = shlex.join(line("auth_command.py", path))
    with web_site() as site, server("--listen", "mixed://127.0.0.1:0", "--auth-command", command) as proxy:
        assert let_in(proxy, site, "alice:wonderland", "alice:wrong", "bob:b") == [True, False, False]


@pytest.mark.skipif(
    not shutil.which("jq") or not shutil.which("htpasswd"), reason="jq or htpasswd is not installed"
)
def test_auth_command_in_a_shell(tmp_path: Path) -> None:
    path = tmp_path / "users"
    subprocess.run(["htpasswd", "-bcB", path, *CREDENTIALS], check=True, capture_output=True)
    command = shlex.join([str(EXAMPLES / "auth_command.sh"), str(path)])
    with web_site() as site, server("--listen", "mixed://127.0.0.1:0", "--auth-command", command) as proxy:
        assert let_in(proxy, site, "alice:wonderland", "alice:wrong", "-D:b") == [True, False, False]


def test_blocking() -> None:
    with server("--user", "alice:wonderland") as proxy, web_site() as site:
        printed = run("blocking.py", proxy.as_user(*CREDENTIALS), "localhost", site.port)
    assert printed.startswith("4 HTTP/1.")
    assert PAGE.decode() in printed


def test_publish() -> None:
    with (
        server("--user", "alice:wonderland") as proxy,
        subprocess.Popen(
            line("publish.py", proxy.as_user(*CREDENTIALS)),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            for _ in range(3):
                assert curl(url).body == b"Hello from behind the proxy.\n"
        finally:
            process.terminate()


def test_the_configuration_is_sound() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "socks6", "check", str(EXAMPLES / "socks6.toml")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_serve_over_pipes_dialled_by_dial_anything() -> None:
    with web_site() as site:
        answer = run("dial_anything.py", site.host, site.port, *line("serve_over_pipes.py"))
    assert answer.endswith(PAGE.decode())
