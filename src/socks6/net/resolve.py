"""Host names to addresses, off the loop, with a limit on everything."""

import asyncio
import errno
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from socks6.net.sockets import SocketAddress

THREADS: Final = 16  # lookups under way at a time; a thread is started when it is first needed
WAITING: Final = 1024  # lookups that wait for a thread; beyond, they fail at once
LOOKUP_SECONDS: Final = 5.0  # as long as the C library waits for its first name server


class Address(NamedTuple):
    """One numeric address to connect to."""

    family: int
    socket_address: SocketAddress

    @property
    def host(self) -> str:
        """The address alone, without a scope."""
        return self.socket_address[0].partition("%")[0]


Lookup: TypeAlias = Callable[[bytes, int], Sequence[Address]]


class Resolver:
    """Resolves names with the system's resolver, in threads of its own.

    A lookup cannot be interrupted: one that is too slow is given up, and its thread is busy until the system
    gives up too. The threads are daemons, so that such a one never holds up the end of the process, as
    those of concurrent.futures would.
    """

    def __init__(
        self,
        *,
        threads: int = THREADS,
        waiting: int = WAITING,
        timeout: float = LOOKUP_SECONDS,
        lookup: Lookup | None = None,
    ) -> None:
        self._most_threads = threads
        self._most_waiting = waiting
        self._timeout = timeout
        self._lookup = lookup or system_lookup
        self._threads = 0
        self._pending = 0  # lookups handed to the threads and not back yet, given up or not
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    async def resolve(self, host: str, port: int) -> tuple[Address, ...]:
        """Return the addresses of a name, best first, at least one; a literal is its own address.

        Raises gaierror, TimeoutError, or OSError with EAGAIN when too many lookups wait already, or the system
        has no thread for them.
        """
        if address := literal_address(host, port):
            return (address,)
        try:
            name = host.encode("ascii")
        except UnicodeEncodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        addresses = tuple(dict.fromkeys(await self._look_up(name, port)))
        if not addresses:
            raise socket.gaierror(socket.EAI_NODATA, "the name has no address")
        return addresses

    async def aclose(self) -> None:
        """Let the threads end. Idempotent; a later lookup starts new ones."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    async def _look_up(self, name: bytes, port: int) -> Sequence[Address]:
        if self._pending >= self._most_threads + self._most_waiting:
            raise OSError(errno.EAGAIN, "too many names are being looked up")
        self._start_thread()
        answer: asyncio.Future[Sequence[Address]] = asyncio.get_running_loop().create_future()
        self._pending += 1
        self._jobs.put(_Job(name, port, answer, self._done))
        async with asyncio.timeout(self._timeout):
            return await answer

    def _start_thread(self) -> None:
        """Start a thread for one more lookup where there may be one. Raises OSError when there is none at all."""
        if self._threads >= min(self._pending + 1, self._most_threads):
            return
        worker = threading.Thread(target=_work, args=(self._jobs, self._lookup), daemon=True)
        try:
            worker.start()
        except RuntimeError as error:  # the system has none left; those that run will do for now
            if not self._threads:
                raise OSError(errno.EAGAIN, "no thread can be started to look a name up") from error
        else:
            self._threads += 1

    def _done(self) -> None:
        self._pending -= 1


def literal_address(host: str, port: int) -> Address | None:
    """Return the address that `host` is; None when it is a name."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host)
            return Address(socket.AF_INET6, (host, port, 0, 0))
        socket.inet_pton(socket.AF_INET, host)
        return Address(socket.AF_INET, (host, port))
    except (OSError, ValueError):
        return None


def system_lookup(name: bytes, port: int) -> Sequence[Address]:
    """Ask the system's resolver. Raises gaierror."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    # an address of another shape comes only from a Python built without IPv6
    return [Address(family, address) for family, _, _, _, address in found]  # type: ignore[arg-type]


class _Job(NamedTuple):
    name: bytes
    port: int
    answer: asyncio.Future[Sequence[Address]]
    done: Callable[[], None]

    def finish(self, found: Sequence[Address] | Exception) -> None:
        """Tell whoever waits; runs on the loop."""
        self.done()
        if self.answer.done():
            return
        if isinstance(found, Exception):
            self.answer.set_exception(found)
        else:
            self.answer.set_result(found)


def _work(jobs: "queue.SimpleQueue[_Job | None]", lookup: Lookup) -> None:
    while (job := jobs.get()) is not None:
        found: Sequence[Address] | Exception
        try:
            found = () if job.answer.cancelled() else lookup(job.name, job.port)
        except Exception as error:  # noqa: BLE001 - carried to the loop, raised there
            found = error
        try:
            job.answer.get_loop().call_soon_threadsafe(job.finish, found)
        except RuntimeError:  # the loop was closed: nobody waits
            return
