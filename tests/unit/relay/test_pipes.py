"""The stock of pipes."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux splices", allow_module_level=True)

from socks6.relay.pipes import PIPE_SIZE, SPARE, Pipes
from tests.kit.footprint import Footprint


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    """Return a stock of two; nothing of it may be left open."""
    before = Footprint.of().descriptors
    stock = Pipes(2)
    yield stock
    stock.close()
    stock.close()
    assert stock.made == 0
    assert Footprint.of().descriptors <= before


def test_a_pipe_is_large_and_does_not_block(pipes: Pipes) -> None:
    pipe = pipes.take()
    assert pipe is not None
    assert pipe.size == PIPE_SIZE
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_end, 1)
    pipes.give(pipe)


def test_a_pipe_is_used_again(pipes: Pipes) -> None:
    pipe = pipes.take()
    assert pipe is not None
    pipes.give(pipe)
    assert pipes.take() is pipe
    pipes.give(pipe)
    assert pipes.made == 1


def test_there_are_no_more_than_allowed(pipes: Pipes) -> None:
    first, second = pipes.take(), pipes.take()
    assert first is not None
    assert second is not None
    assert pipes.take() is None
    pipes.give(first)
    assert pipes.take() is first
    pipes.give(first)
    pipes.give(second)


def test_a_pipe_with_something_in_it_is_not_used_again(pipes: Pipes) -> None:
    pipe = pipes.take()
    assert pipe is not None
    os.write(pipe.write_end, b"rest")
    pipes.discard(pipe)
    assert pipes.made == 0


def test_few_are_kept_while_nobody_uses_them() -> None:
    pipes = Pipes(3 * SPARE)
    taken = [pipes.take() for _ in range(3 * SPARE)]
    for pipe in taken:
        assert pipe is not None
        pipes.give(pipe)
    assert pipes.made == SPARE
    pipes.close()


def test_after_closing_none_is_kept(pipes: Pipes) -> None:
    pipe = pipes.take()
    assert pipe is not None
    pipes.close()
    pipes.give(pipe)
    assert pipes.made == 0


def test_without_descriptors_there_is_no_pipe(pipes: Pipes) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as restore:
        restore.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        assert pipes.take() is None
    assert pipes.made == 0
    pipe = pipes.take()
    assert pipe is not None
    pipes.give(pipe)


def test_a_size_that_the_kernel_refuses_leaves_the_pipe_as_it_is() -> None:
    pipes = Pipes(1, size=(1 << 31) - 1)
    pipe = pipes.take()
    if pipe is not None:  # else the kernel's own size is too small to be of use
        assert pipe.size < PIPE_SIZE
        pipes.give(pipe)
    pipes.close()
    assert pipes.made == 0


def test_a_pipe_smaller_than_what_is_copied_is_of_no_use() -> None:
    pipes = Pipes(1, size=4096)
    assert pipes.take() is None
    assert pipes.made == 0
