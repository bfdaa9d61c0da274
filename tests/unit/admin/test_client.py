"""What commands ask of a running proxy."""

import errno
import os
import socket
from pathlib import Path

import pytest

from socks6.admin import client as module
from socks6.admin.client import AdminClient, AdminFailed, find_proxy
from socks6.telemetry import SessionOpened
from tests.kit.admin import administered


def test_it_asks_and_follows_events(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    with administered(path, "alice", "bob") as worker:
        client = AdminClient(path)
        assert [row["user"] for row in client.get("/connections", user="bob")["connections"]] == ["bob"]
        with pytest.raises(AdminFailed, match="there is no connection 9") as failed:
            client.delete("/connections/9")
        assert failed.value.status == 404
        events = client.events(["SessionOpened"])
        loop = worker.loop

        def happen() -> None:
            if SessionOpened in worker.events.wanted:
                worker.events.observe(SessionOpened(id=1, user="alice"))
            else:
                loop.call_later(0.01, happen)

        loop.call_soon_threadsafe(happen)
        assert next(events) == ("SessionOpened", {"id": 1, "user": "alice"})
        events.close()  # type: ignore[attr-defined]  # it is a generator


def test_what_goes_wrong_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing.sock")
    with pytest.raises(AdminFailed, match=f"start the proxy with --admin {missing}"):
        AdminClient(missing).get("/status")
    dead = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(dead)
    with pytest.raises(AdminFailed, match="no proxy listens there any more"):
        AdminClient(dead).get("/status")

    for number in (errno.EACCES, errno.EPIPE):  # by the file's mode; by the proxy, which ends the connection

        def refuse(_: object, number: int = number) -> None:
            raise OSError(number, "not by you")

        monkeypatch.setattr(module._UnixConnection, "connect", refuse)
        with pytest.raises(AdminFailed, match="and root may administer this proxy"):
            AdminClient(dead).get("/status")


def test_the_only_proxy_is_found_and_several_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socks6.admin.runtime.ROOTS_FOLDER", tmp_path / "none")
    monkeypatch.setattr(module, "ROOTS_FOLDER", tmp_path / "none")
    environment = {"RUNTIME_DIRECTORY": str(tmp_path)}
    assert find_proxy("/x", {}).path == "/x"
    with pytest.raises(AdminFailed, match="no proxy that you may administer runs"):
        find_proxy(None, environment)
    one, other = tmp_path / f"{os.getpid()}.sock", tmp_path / "other.sock"
    with administered(str(one)):
        assert find_proxy(None, environment).path == str(one)
        with administered(str(other)), pytest.raises(AdminFailed) as several:
            find_proxy(None, environment)
        assert f"--admin {one}   socks6://127.0.0.1:1080" in str(several.value)
