"""Unix sockets."""
# ruff: noqa: ASYNC240 - a test may look at a file

import contextlib
import itertools
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typing_extensions import override

from socks6.net.stream import NO_ENDPOINT, ByteStream, Protection
from socks6.net.transports.unix import connect_unix, listen_unix
from tests.kit.failing import KINDS, Plan, failing
from tests.kit.loops import Run
from tests.kit.streams import StreamConformance, accept, closing


class TestUnixStream(StreamConformance):
    """The common suite."""

    aborts_reset = False  # a Unix socket whose peer is gone has simply ended

    @override
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        with TemporaryDirectory() as place:
            listener = await listen_unix(f"{place}/socket")
            dialled = await connect_unix(f"{place}/socket")
            accepted = await accept(listener)
            await listener.aclose()
            async with closing(dialled, accepted):
                yield dialled, accepted


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a path for a socket file."""
    return str(tmp_path / "socket")


def test_it_never_leaves_the_machine_and_has_no_address(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path)
        async with closing(dialled := await connect_unix(path), accepted := await accept(listener)):
            for stream in (dialled, accepted):
                assert stream.protection is Protection.MACHINE
                assert stream.local == stream.remote == NO_ENDPOINT
        await listener.aclose()

    run(play())


def test_the_url_is_the_path_unless_told_otherwise(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path)
        assert listener.url == f"unix://{path}"
        assert listener.local == NO_ENDPOINT
        await listener.aclose()
        listener = await listen_unix(path, url=f"socks6+unix://{path}")
        assert listener.url == f"socks6+unix://{path}"
        await listener.aclose()

    run(play())


def test_nobody_else_may_connect_by_default(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path)
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        await listener.aclose()

    run(play())


def test_the_mode_can_be_chosen(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path, mode=0o660)
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o660
        await listener.aclose()

    run(play())


def test_the_file_is_removed_on_close(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path)
        await listener.aclose()
        assert not Path(path).exists()
        await listener.aclose()

    run(play())


def test_the_file_of_a_dead_server_is_replaced(run: Run, path: str) -> None:
    async def play() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        listener = await listen_unix(path)
        async with closing(await connect_unix(path)):
            pass
        await listener.aclose()

    run(play())


def test_a_living_server_keeps_its_file(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path)
        with pytest.raises(OSError, match="in use"):
            await listen_unix(path)
        async with closing(await connect_unix(path)):
            pass
        await listener.aclose()

    run(play())


def test_a_file_that_is_no_socket_is_left_alone(run: Run, path: str) -> None:
    async def play() -> None:
        Path(path).write_text("precious")
        with pytest.raises(FileExistsError):
            await listen_unix(path)
        assert Path(path).read_text() == "precious"

    run(play())


def test_another_servers_file_survives_our_closing(run: Run, path: str) -> None:
    async def play() -> None:
        ours = await listen_unix(path)
        Path(path).unlink()
        theirs = await listen_unix(path)
        await ours.aclose()
        assert Path(path).exists()
        await theirs.aclose()

    run(play())


def test_a_file_that_somebody_removed_is_no_error_on_close(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path)
        Path(path).unlink()
        await listener.aclose()

    run(play())


@pytest.mark.parametrize("kind", ["file", "bind", "socket"])
def test_whichever_call_fails_nothing_is_left(run: Run, path: str, kind: str) -> None:
    async def listen(failure: Callable[[], Exception], step: int) -> list[str]:
        with failing(KINDS[kind], Plan(failure=failure, step=step)) as plan, contextlib.suppress(OSError):
            listener = await listen_unix(path)
            await listener.aclose()
        return plan.failed

    async def scene() -> None:
        held = len(os.listdir("/dev/fd"))
        for failure in KINDS[kind].failures.values():
            for step in itertools.count():
                failed = await listen(failure, step)
                assert len(os.listdir("/dev/fd")) <= held, (
                    failed
                )  # fewer, if what an earlier test left was collected
                if "in _remove_ours" in str(failed):
                    os.unlink(path)  # could not be removed: the next server replaces it
                assert not os.path.exists(path), failed
                if not failed:
                    break

    run(scene())


def test_nothing_that_listens_is_a_refusal(run: Run, path: str) -> None:
    async def play() -> None:
        with pytest.raises(FileNotFoundError):
            await connect_unix(path)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        with pytest.raises(ConnectionRefusedError):
            await connect_unix(path)

    run(play())


def test_a_full_backlog_is_waited_for_until_the_time_out(run: Run, path: str) -> None:
    async def play() -> None:
        listener = await listen_unix(path, backlog=0)
        async with closing(await connect_unix(path)):
            with pytest.raises(TimeoutError):
                await connect_unix(path, timeout=0.03)
            (await accept(listener)).abort()
            async with closing(await connect_unix(path, timeout=5)):
                pass
        await listener.aclose()

    run(play())


def test_a_path_that_is_too_long_is_refused(run: Run, tmp_path: Path) -> None:
    async def play() -> None:
        long = str(tmp_path / ("x" * 120))
        with pytest.raises(OSError, match="too long") as caught:
            await listen_unix(long)
        assert caught.value.filename == long

    run(play())
