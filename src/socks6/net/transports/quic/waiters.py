"""Tasks that wait for something to change, and look again then."""

import asyncio
import contextlib


class Condition:
    """Any number of them."""

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        """Return whether anybody waits."""
        return bool(self._futures)

    async def wait(self) -> None:
        """Wait until the next `wake`."""
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            if not future.done() or future.cancelled():  # it would stay until the next `wake`
                self._forget(future)

    def wake(self) -> None:
        """Have everybody who waits look again."""
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)

    def _forget(self, future: "asyncio.Future[None]") -> None:
        with contextlib.suppress(ValueError):
            self._futures.remove(future)
