"""Host names to addresses, off the loop, with a limit on everything.

Names are asked of the system (getaddrinfo), in threads: it alone knows hosts files, nsswitch.conf, search domains,
multicast DNS and the name servers of each network (docs/decisions/0030). A call of it cannot be interrupted, and one
for a name whose servers are dead takes as long as the C library has patience for. So threads are what is short here,
and no single holder may have all of them:

* one lookup serves all requests for its name, and its answer, or its failure, is remembered for a while;
* each holder (a user, or a source) has a share of the threads (`Shares`), and a queue of its own for what is beyond;
* a lookup that takes too long is a time-out for all that wait, at once for those that come later. Its thread counts for
  the holder that started it until the system gives up; others get threads that are free, or new ones up to the bound.
"""

import asyncio
import collections
import contextlib
import errno
import functools
import queue
import socket
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import field
from typing import Final, NamedTuple, TypeAlias

from socks6.dataclass import dataclass
from socks6.message.address import UNSPECIFIED_IPV4, UNSPECIFIED_IPV6
from socks6.net.shares import Shares
from socks6.net.stream import SocketAddress, same_error

THREADS: Final = 64  # lookups at a time: two queries each, below the 150 that dnsmasq forwards at a time
WAITING: Final = 1024  # lookups that wait for a thread; beyond its share of these a holder's fail at once
LOOKUP_SECONDS: Final = 5.0  # as long as the C library waits for its first name server
REMEMBERED: Final = 1024  # names whose answers are remembered; beyond, the oldest is forgotten
NO_NAME_SECONDS: Final = 5.0  # that a name does not exist is believed for so long
NO_SERVER_SECONDS: Final = (
    1.0,
    10.0,
)  # that its servers failed: as long as that took, in these bounds (RFC 9520 §3.2)
AGAIN_SECONDS: Final = 5.0  # between lookups in the background, while they fail
JUST_NOW: Final = 1.0  # an answer of that age is the newest that there is
IDLE_SECONDS: Final = 10.0  # then a thread without work ends

# What getaddrinfo says of a name, and of its servers; anything else is about this machine, and may be over at once.
NO_NAME: Final = frozenset((socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY))
NO_SERVER: Final = frozenset((socket.EAI_AGAIN, socket.EAI_FAIL))


TOO_MANY: Final = "too many names are being looked up for this client"


class ResolvedAddress(NamedTuple):
    """One numeric address to connect to."""

    family: int
    socket_address: SocketAddress

    @property
    def host(self) -> str:
        """The address alone, without a scope."""
        return self.socket_address[0].partition("%")[0]

    def at(self, port: int) -> "ResolvedAddress":
        """Return the same address with another port."""
        host, _, *rest = self.socket_address
        return ResolvedAddress(self.family, (host, port, rest[0], rest[1]) if rest else (host, port))


WILDCARDS: Final = {  # every address of this machine, by family
    socket.AF_INET: ResolvedAddress(socket.AF_INET, (UNSPECIFIED_IPV4, 0)),
    socket.AF_INET6: ResolvedAddress(socket.AF_INET6, (UNSPECIFIED_IPV6, 0, 0, 0)),
}

LOOPBACKS: Final = (  # what localhost may stand for (RFC 6761 §6.3), whatever a hosts file names
    ResolvedAddress(socket.AF_INET, ("127.0.0.1", 0)),
    ResolvedAddress(socket.AF_INET6, ("::1", 0, 0, 0)),
)

Lookup: TypeAlias = Callable[[bytes, int], Sequence[ResolvedAddress]]
"""What asks the system for a name, and for port 0, which `Resolver` replaces; may take long, and raise OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long answers are used again: the system gives addresses without a TTL."""

    fresh: float  # seconds that an answer is used as it is
    stale: float  # seconds that it is still used, while the name is looked up again in the background


FOR_MANY_NAMES: Final = Lifetimes(fresh=5.0, stale=0.0)
"""A server's: the system's own resolver remembers names by their TTL, this is about bursts."""
FOR_ONE_NAME: Final = Lifetimes(fresh=30.0, stale=600.0)
"""A client's: its proxy's name, for every request. Where none of the addresses answers, `newer` is asked."""


class Resolver:
    """Resolves names with the system's resolver, in threads of its own.

    The threads are daemons, so that one that hangs never holds up the end of the process, as those of
    concurrent.futures would.
    """

    def __init__(
        self,
        *,
        threads: int = THREADS,
        waiting: int = WAITING,
        timeout: float = LOOKUP_SECONDS,
        lifetimes: Lifetimes = FOR_MANY_NAMES,
        lookup: Lookup | None = None,
    ) -> None:
        self._timeout = timeout
        self._lifetimes = lifetimes
        self._threads = _Threads(lookup or system_lookup, self._hand_back)
        self._running = Shares(threads)  # lookups that a thread has, given up or not
        self._waiting = Shares(waiting)
        self._lookups: dict[bytes, _Lookup] = {}  # under way, or in a queue
        self._queues: dict[Hashable, dict[_Lookup, int]] = {}  # of each holder: how many wait for what
        self._answers: dict[bytes, _Answer] = {}
        self._back: collections.deque[_Lookup] = collections.deque()  # from threads, not noticed yet

    async def resolve(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...]:
        """Return the addresses of a name, best first, at least one; a literal is its own address.

        A lookup counts against the share of `holder`. Raises gaierror, TimeoutError, or OSError with EAGAIN when
        too many lookups of this holder wait already, or the system has no thread for them.
        """
        known = self.known(host, port, holder=holder)
        if known is None:
            found = await self._look_up(_encoded(host), holder)
            known = tuple(address.at(port) for address in found)
        return known

    def known(self, host: str, port: int, *, holder: Hashable = None) -> tuple[ResolvedAddress, ...] | None:
        """Return what `resolve` would without a wait; None where the system must be asked first. Raises OSError."""
        if address := literal_address(host, port):
            return (address,)
        self._notice()
        found = self._remembered(_encoded(host), holder)
        return None if found is None else tuple(address.at(port) for address in found)

    async def newer(
        self, host: str, port: int, known: Sequence[ResolvedAddress]
    ) -> tuple[ResolvedAddress, ...]:
        """Return the addresses of a name that are not among `known`, at which no host answers; none if there are none.

        Asks the system, unless it has just been asked; a failed lookup counts as no addresses.
        """
        if literal_address(host, port):
            return ()
        name = _encoded(host)
        self._notice()
        answer = self._answers.get(name)
        found: tuple[ResolvedAddress, ...] = ()
        if answer is not None and _now() - answer.since < JUST_NOW:
            found = answer.addresses
        else:
            with contextlib.suppress(OSError):
                found = await self._look_up(name, None)
        return tuple(address for address in (one.at(port) for one in found) if address not in known)

    def doubt(self, host: str) -> None:
        """Mark a name's addresses as possibly old: when next asked for, it is looked up again in the background."""
        answer = self._answers.get(host.encode("ascii", "replace"))
        if answer is not None:
            answer.refresh = min(answer.refresh, _now())

    # What is known.

    def _remembered(self, name: bytes, holder: Hashable) -> tuple[ResolvedAddress, ...] | None:
        """Return a name's addresses if they are known, having them looked up again if that is due. Raises OSError."""
        answer = self._answers.get(name)
        if answer is None:
            return None
        now = _now()
        if now >= answer.until:
            del self._answers[name]
            return None
        if answer.failure is not None:
            raise same_error(answer.failure)
        if now >= answer.refresh:
            answer.refresh = now + AGAIN_SECONDS
            if self._current(name) is None:
                self._start(_Lookup(name), holder)
        return answer.addresses

    def _remember(self, lookup: "_Lookup") -> None:
        """Keep what a lookup found, unless it says nothing about the name. A failure takes no addresses away."""
        now = _now()
        known = self._answers.get(lookup.name)
        if lookup.failure is None:
            fresh, stale = self._lifetimes.fresh, self._lifetimes.stale
            answer = _Answer(
                since=now, refresh=now + fresh, until=now + max(fresh, stale), addresses=lookup.found
            )
        elif known is None or known.failure is not None or now >= known.until:
            seconds = _failure_seconds(lookup.failure, now - lookup.started)
            answer = _Answer(since=now, refresh=now, until=now + seconds, failure=lookup.failure)
        else:
            return
        self._answers.pop(lookup.name, None)
        if now < answer.until:
            if len(self._answers) >= REMEMBERED:
                del self._answers[next(iter(self._answers))]
            self._answers[lookup.name] = answer

    # What is looked up.

    async def _look_up(self, name: bytes, holder: Hashable) -> tuple[ResolvedAddress, ...]:
        """Wait for a lookup of a name: the one that is under way, or a new one. Raises OSError."""
        lookup = self._current(name) or _Lookup(name)
        if lookup.started and _now() >= lookup.started + self._timeout:
            raise TimeoutError
        waiter = _Waiter(lookup, holder)
        if not lookup.started:
            self._enter(waiter)
        try:
            async with asyncio.timeout_at((lookup.started or _now()) + self._timeout) as waiter.limit:
                lookup.waiters.add(waiter)
                return await waiter.answer
        except TimeoutError:
            if lookup.started:
                raise
            raise OSError(errno.EAGAIN, TOO_MANY) from None
        finally:
            self._leave(waiter)

    def _current(self, name: bytes) -> "_Lookup | None":
        """Return the lookup of a name, unless it belongs to a loop that is gone."""
        lookup = self._lookups.get(name)
        return lookup if lookup is not None and lookup.loop is asyncio.get_running_loop() else None

    def _enter(self, waiter: "_Waiter") -> None:
        """Start a lookup now, or queue it. Raises OSError."""
        lookup, holder = waiter.lookup, waiter.holder
        if holder not in self._queues and self._start(lookup, holder):
            return
        if not self._running.count:
            raise OSError(errno.EAGAIN, "no thread can be started to look a name up")
        if not self._waiting.may_take(holder):
            raise OSError(errno.EAGAIN, TOO_MANY)
        self._waiting.take(holder)
        waiter.queued = True
        self._lookups[lookup.name] = lookup
        line = self._queues.setdefault(holder, {})
        line[lookup] = line.get(lookup, 0) + 1

    def _leave(self, waiter: "_Waiter") -> None:
        """Remove a waiter; a queued lookup without waiters is not begun."""
        lookup = waiter.lookup
        lookup.waiters.discard(waiter)
        self._unqueue(waiter)
        if not (lookup.started or lookup.waiters) and self._lookups.get(lookup.name) is lookup:
            del self._lookups[lookup.name]

    def _unqueue(self, waiter: "_Waiter") -> None:
        if not waiter.queued:
            return
        waiter.queued = False
        self._waiting.give_back(waiter.holder)
        line = self._queues[waiter.holder]
        line[waiter.lookup] -= 1
        if not line[waiter.lookup]:
            del line[waiter.lookup]
        if not line:
            del self._queues[waiter.holder]

    def _start(self, lookup: "_Lookup", holder: Hashable) -> bool:
        """Look a name up if there is a thread for this holder; all the time it may take begins now, for every waiter."""
        if not (self._running.may_take(holder) and self._threads.give(lookup)):
            return False
        lookup.started = _now()
        lookup.holder = holder
        self._lookups[lookup.name] = lookup
        self._running.take(holder)
        for waiter in lookup.waiters:
            if waiter.limit is not None and not waiter.limit.expired():  # it may end in this very turn
                waiter.limit.reschedule(lookup.started + self._timeout)
            self._unqueue(waiter)
        return True

    def _hand_back(self, lookup: "_Lookup") -> None:
        """Take a lookup back from its thread, in which this runs."""
        self._back.append(lookup)
        with contextlib.suppress(RuntimeError):  # its loop is gone: the next lookup takes the result then
            lookup.loop.call_soon_threadsafe(self._notice)

    def _notice(self) -> None:
        """Take the threads' results, wake the waiters, and start what was waiting for a thread."""
        while self._back:
            lookup = self._back.popleft()
            self._running.give_back(lookup.holder)
            if self._lookups.get(lookup.name) is lookup:
                del self._lookups[lookup.name]
            self._remember(lookup)
            lookup.wake_waiters()
        self._start_in_turn()

    def _start_in_turn(self) -> None:
        """Start lookups that wait, one of each holder after the other."""
        began = bool(self._queues)
        while began:
            began = False
            for holder in tuple(self._queues):
                line = self._queues.pop(holder, None)
                if line is not None:
                    self._queues[holder] = line  # the others go first the next time
                    began |= self._start(next(iter(line)), holder)


@functools.lru_cache(maxsize=1024)
def literal_address(host: str, port: int) -> ResolvedAddress | None:
    """Return the address that `host` is; None when it is a name."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host)
            return ResolvedAddress(socket.AF_INET6, (host, port, 0, 0))
        socket.inet_pton(socket.AF_INET, host)
        return ResolvedAddress(socket.AF_INET, (host, port))
    except (OSError, ValueError):
        return None


def system_lookup(name: bytes, port: int) -> Sequence[ResolvedAddress]:
    """Ask the system's resolver. Raises gaierror."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    # an address of another shape comes only from a Python built without IPv6
    return [ResolvedAddress(family, address) for family, _, _, _, address in found]  # type: ignore[arg-type]


@dataclass(slots=True, kw_only=True)
class _Answer:
    """What is known of a name: its addresses, or why there are none."""

    since: float
    refresh: float  # when it is to be looked up again, in the background
    until: float
    addresses: tuple[ResolvedAddress, ...] = ()
    failure: Exception | None = None


@dataclass(slots=True, eq=False)
class _Lookup:
    """One question to the system, and its waiters."""

    name: bytes
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    started: float = 0.0  # on the loop's clock, when a thread got it; 0 before
    holder: Hashable = None  # whose share it takes
    waiters: "set[_Waiter]" = field(default_factory=set)
    found: tuple[ResolvedAddress, ...] = ()
    failure: Exception | None = None

    def carry_out(self, ask: Lookup) -> None:
        """Ask the system; runs in a thread."""
        try:
            self.found = tuple(dict.fromkeys(ask(self.name, 0)))
            if not self.found:
                self.failure = socket.gaierror(socket.EAI_NODATA, "the name has no address")
        except Exception as error:  # noqa: BLE001 - carried to the loop, raised there
            self.failure = error

    def wake_waiters(self) -> None:
        """Give the result to every waiter."""
        if self.loop is not asyncio.get_running_loop():
            return  # that loop was closed: nothing waits
        for waiter in self.waiters:
            if waiter.answer.done():
                continue
            if self.failure is None:
                waiter.answer.set_result(self.found)
            else:
                waiter.answer.set_exception(same_error(self.failure))


@dataclass(slots=True, eq=False)
class _Waiter:
    """Who waits for a lookup, on behalf of a holder."""

    lookup: _Lookup
    holder: Hashable
    queued: bool = False  # in the holder's queue
    limit: asyncio.Timeout | None = None
    answer: asyncio.Future[tuple[ResolvedAddress, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.answer = self.lookup.loop.create_future()


class _Threads:
    """Daemon threads that carry out lookups, started when they are needed; without work they end after a while."""

    def __init__(self, ask: Lookup, hand_back: Callable[[_Lookup], None]) -> None:
        self._ask = ask
        self._hand_back = hand_back
        self._lookups: queue.SimpleQueue[_Lookup] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that nothing is meant for

    def give(self, lookup: _Lookup) -> bool:
        """Run a lookup in a thread; return False if the system has none left."""
        with self._lock:
            reused = self._idle > 0
            self._idle -= reused
        if not reused:
            try:
                threading.Thread(target=self._work, name="socks6 lookups", daemon=True).start()
            except RuntimeError:
                return False
        self._lookups.put(lookup)
        return True

    def _work(self) -> None:
        while (lookup := self._next()) is not None:
            lookup.carry_out(self._ask)
            with self._lock:
                self._idle += 1  # before the loop knows, which may have the next one
            self._hand_back(lookup)

    def _next(self) -> _Lookup | None:
        while True:
            try:
                return self._lookups.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._idle:  # else one is on its way here
                        self._idle -= 1
                        return None


def _encoded(host: str) -> bytes:
    try:
        return host.encode("ascii")
    except UnicodeEncodeError:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None


def _failure_seconds(failure: Exception, took: float) -> float:
    """Return how long to remember that a name cannot be resolved, given how long the lookup took."""
    if not isinstance(failure, socket.gaierror):
        return 0.0
    if failure.errno in NO_NAME:
        return NO_NAME_SECONDS
    least, most = NO_SERVER_SECONDS
    return min(max(least, took), most) if failure.errno in NO_SERVER else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()
