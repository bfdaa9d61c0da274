"""What several commands share."""

import asyncio
import logging
import resource
import socket
import sys
from argparse import Namespace
from pathlib import Path
from types import TracebackType

import pytest
import uvloop
from typing_extensions import override

from socks6.cli.common import (
    loop_factory,
    named_client,
    named_host,
    notify,
    raise_descriptor_limit,
    run_client,
    run_loop,
)
from socks6.client.client import Client
from socks6.errors import ConfigurationError, ProxyUnreachable


async def kind_of_loop() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


@pytest.mark.parametrize("name", ["auto", "uvloop"])
def test_uvloop_where_it_is_installed(name: str) -> None:
    assert run_loop(kind_of_loop(), name) is uvloop.Loop


def test_asyncio_where_it_is_wanted() -> None:
    assert run_loop(kind_of_loop()) is not uvloop.Loop


def test_asyncio_where_uvloop_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is None


def test_uvloop_that_is_wanted_and_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ConfigurationError, match="pip install uvloop"):
        run_loop(kind_of_loop(), "uvloop")


class Left(Client):
    """Knows whether it was left."""

    left = False

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self.left = True


@pytest.mark.parametrize("failure", [None, ProxyUnreachable("nobody there")])
def test_a_client_is_left_when_its_command_ends(failure: Exception | None) -> None:
    async def use() -> int:
        if failure is not None:
            raise failure
        return 7

    client = Left("socks6://proxy.example")
    if failure is None:
        assert run_client(client, use()) == 7
    else:
        with pytest.raises(ProxyUnreachable):
            run_client(client, use())
    assert client.left


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_notified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        assert manager.recv(64) == b"READY=1"


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")


def test_the_limit_of_descriptors_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_is_named_by_flags_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKS6_PROXY", "socks6://other.example")
    flags = {"via_file": None, "dialect_212": False, "timeout": 5.0}
    assert named_client(Namespace(via="socks6://proxy.example", **flags), "").url.host == "proxy.example"
    assert named_client(Namespace(via=None, **flags), "").url.host == "other.example"
    monkeypatch.delenv("SOCKS6_PROXY")
    with pytest.raises(ConfigurationError, match="no proxy"):
        named_client(Namespace(via=None, **flags), "no proxy")


def test_what_the_library_logs_is_printed_as_a_commands_own_lines_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("socks6")
    monkeypatch.setattr(logger, "handlers", [])
    for _ in range(2):
        named_client(
            Namespace(via="socks6://proxy.example", via_file=None, dialect_212=False, timeout=5.0), ""
        )
    logger.warning("it goes by TLS")
    assert capsys.readouterr().err == "socks6: it goes by TLS\n"


def test_a_host_that_is_none_is_blamed_on_its_argument() -> None:
    assert named_host("HOST", "EXAMPLE.com") == "example.com"
    with pytest.raises(ConfigurationError, match=r"^HOST: "):
        named_host("HOST", "a b")
