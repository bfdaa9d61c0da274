"""Relaying when descriptors are short."""

import contextlib
import os
import resource
from collections.abc import Iterator

from tests.kit.joined import joined
from tests.kit.loops import Run
from tests.kit.streams import receive_exactly


def test_without_a_descriptor_to_spare_bytes_are_copied(run: Run) -> None:
    async def play() -> None:
        async with joined("tcp") as scene:
            with no_descriptors_left():
                await scene.client.send(b"ping")  # the relay begins only now
                assert await receive_exactly(scene.remote, 4) == b"ping"
                await scene.remote.send(b"pong")
                assert await receive_exactly(scene.client, 4) == b"pong"

    run(play())


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Have this process get no new descriptor meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
