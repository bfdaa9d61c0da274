"""Where the sockets of the admin interface are."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from socks6.admin.runtime import ROOTS_FOLDER, live_sockets, own_socket, runtime_folder


def test_the_folder_is_systemds_roots_or_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    users = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert runtime_folder({}) is None
    assert own_socket({}) is None
    assert runtime_folder(users) == Path("/run/user/1000/socks6")
    assert runtime_folder({**users, "RUNTIME_DIRECTORY": "/run/socks6:/run/other"}) == Path("/run/socks6")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runtime_folder(users) == ROOTS_FOLDER


def test_sockets_of_dead_processes_are_removed_and_others_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socks6.admin.runtime.ROOTS_FOLDER", tmp_path / "none")
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "socks6")}
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path = own_socket(environment)
    assert path == tmp_path / "socks6" / f"{os.getpid()}.sock"
    dead, other = path.with_name(f"{ended.pid}.sock"), path.with_name("named.sock")
    dead.touch()
    other.touch()
    assert own_socket(environment) == path
    assert not dead.exists()
    assert other.exists()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        assert live_sockets(environment) == [path]
        assert live_sockets({"RUNTIME_DIRECTORY": str(tmp_path)}) == [path]


def test_a_folder_that_cannot_be_made_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert own_socket({"RUNTIME_DIRECTORY": str(tmp_path / "file" / "socks6")}) is None
