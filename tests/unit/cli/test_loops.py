"""Event loops of commands."""

import asyncio
import sys

import pytest
import uvloop

from socks6.cli.loops import loop_factory, run_loop
from socks6.errors import ConfigurationError


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
    with pytest.raises(ConfigurationError, match=r"pip install socks6\[server\]"):
        run_loop(kind_of_loop(), "uvloop")
