"""socks6 check."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from socks6.cli import main
from socks6.cli.check import run


def checked(folder: Path, text: str) -> int:
    path = folder / "socks6.toml"
    path.write_text(text)
    path.chmod(0o600)
    return run(Namespace(file=str(path), schema=False))


def test_no_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "open = true") == 0
    assert capsys.readouterr() == (f"{tmp_path}/socks6.toml: no faults\n", "")


def test_faults_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "\nopen = 5") == 2
    fault = f"{tmp_path}/socks6.toml:2: open: expected true or false, got a whole number\n"
    assert capsys.readouterr() == ("", fault)


def test_listeners_that_need_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'listen = [\n"socks6://127.0.0.1:0",\n"socks6://:0",\n"mixed://192.0.2.1"]'
    assert checked(tmp_path, text) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{tmp_path}/socks6.toml:3: listen[1]: ")
    assert second.startswith(f"{tmp_path}/socks6.toml:4: listen[2]: ")


def test_a_server_that_is_its_own_upstream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'listen = "socks6://127.0.0.1"\nvia = "socks6://127.0.0.1"'
    assert checked(tmp_path, text) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path}/socks6.toml:2: via: ")


def test_warnings_are_no_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "users").write_text("")
    assert checked(tmp_path, '[users]\nfile = "users"') == 0
    assert capsys.readouterr().err.startswith("socks6: warning: ")


def test_all_faults_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
listen = ["socks7://",
 "socks6://:0",
 "socks6+quic://127.0.0.1:0?backend=qh3",
 "mixed://127.0.0.1:0"]
via = "mixed://h"
loop = "spin"
[tls]
client-ca = "nowhere.pem"
key = "key.pem"
"""
    assert checked(tmp_path, text) == 2
    told = [line.removeprefix(f"{tmp_path}/socks6.toml:") for line in capsys.readouterr().err.splitlines()]
    assert [line.partition(": ")[0] + " " + line.split(": ")[1] for line in told] == [
        "2 listen[0]", "3 listen[1]", "4 listen[2]", "6 via[0]", "7 loop", "8 tls", "10 tls.key",
    ]  # fmt: skip
    assert "nowhere.pem: No such file" in told[5]
    assert "client certificates" in told[2]


def test_files_of_tls_are_read_where_no_listener_needs_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, '[tls]\ncertificate = "nowhere.pem"') == 2
    assert capsys.readouterr().err.startswith(
        f"{tmp_path}/socks6.toml:1: tls: {tmp_path}/nowhere.pem: No such"
    )


@pytest.mark.parametrize(
    "text",
    [
        '[tls]\nclient-ca = "nowhere.pem"',
        'listen = ["socks6://:0", "socks6+quic://127.0.0.1:0"]\n[tls]\nclient-ca = "ca.pem"',
    ],
)
def test_what_check_refuses_a_server_does_not_begin_with(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, text) == 2
    told = [line.split(": ", 2)[2] for line in capsys.readouterr().err.splitlines()]
    assert main(["server", "--config", str(tmp_path / "socks6.toml")]) == 2
    refused = [line.removeprefix("socks6: ") for line in capsys.readouterr().err.splitlines()]
    assert sorted(refused) == sorted(told)


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["open"]["type"] == "boolean"


def test_a_file_is_needed_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "name a FILE" in capsys.readouterr().err
