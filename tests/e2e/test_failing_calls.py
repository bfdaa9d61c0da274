"""Each call of the operating system fails once, one after the other, in the proxy and in the library: nothing leaks, nothing
hangs, nobody is told what is not so, and the next client is served. `make deep` tries every call, failure and transport."""

import asyncio
import contextlib
import gc
import itertools
import os
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from typing_extensions import override

from socks6.errors import ConfigurationError
from socks6.proxy.service import Server
from socks6.proxy.worker import ServerWorker
from socks6.telemetry import Event, Observer
from tests.kit.certificates import write_certificate
from tests.kit.failing import KINDS, SIDE, Kind, Plan, failing
from tests.kit.failing_world import HOST, Act, World, acts, world
from tests.kit.loops import LOOP_FACTORIES, Run

ACT_SECONDS: Final = 15.0  # more than any time-out of the world
PATIENCE: Final = 40.0  # for what ends by itself: a QUIC connection whose peer says nothing

TOLD_AS: Final = {9: (9, 4)}  # SOCKS 5 has no word for a time-out
FEW: Final = ("connect", "bind", "socks5_udp")  # acts that `make test` tries
DIALS: Final = ("connect", "upload", "socks5_connect")  # acts for which a proxy makes one socket
ACTS_OF_KIND: Final = {"connect": DIALS, "socket": DIALS, "resolve": ("connect_by_name",)}
REPLIES: Final[Mapping[str, int]] = {  # to such an act, by what failed; what is not here is a general failure
    "ECONNREFUSED": 5,
    "ENETUNREACH": 3,
    "EHOSTUNREACH": 4,
    "EACCES": 2,
    "EAFNOSUPPORT": 8,
    "EAI_NONAME": 4,
    "EAI_AGAIN": 4,
}

pytestmark = pytest.mark.e2e


def held(scene: World) -> Counter[str]:
    """Return what there is now: in the proxies' tables, and of the operating system's."""
    found: Counter[str] = Counter()
    for name, proxy in (("proxy", scene.proxy), ("converter", scene.converter)):
        found.update({f"{name}'s {what}": number for what, number in proxy.held.items()})
    found["tasks"] = len(asyncio.all_tasks())
    found["threads"] = threading.active_count()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0]
        except OSError:  # of the listing itself
            continue
        if kind != "pipe":  # relays keep some
            found[f"descriptors: {kind}"] += 1
    return found


async def settled(scene: World, before: Counter[str]) -> Counter[str]:
    """Return what there is more of than before, once nothing is, or there was time enough."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    for polls in itertools.count(1):
        more = held(scene) - before
        if not more or asyncio.get_running_loop().time() > deadline:
            return more
        if polls % 50 == 0:
            gc.collect()
        await asyncio.sleep(0.02)
    raise AssertionError


async def at_rest(scene: World) -> None:
    """Wait until nobody is served any more, and the sessions that nobody tears down have ended."""
    kept = Counter({what: number for what, number in held(scene).items() if "'s " not in what or lasts(what)})
    assert not await settled(scene, kept)


def lasts(what: str) -> bool:
    """Return whether it is a converter's connection over QUIC, which is kept."""
    return what.endswith(("quic streams", "multiplexed"))


def steps(*, every: bool) -> Iterator[int]:
    step = 0
    while True:
        yield step
        step += 1 if every or step < 4 else step


class Trial:
    """Has an act done over and over while one call after the other fails."""

    def __init__(self, scene: World, complaints: list[Any]) -> None:
        self._scene = scene
        self._complaints = complaints
        self.faults: list[str] = []

    async def each(self, act: Act, name: str, failure: str, side: str, *, times: int, every: bool) -> int:
        """Return how many runs it took until one in which nothing failed."""
        kind = KINDS[name]
        await act(self._scene)  # what an act opens for good, a converter's connection, is there from now on
        await at_rest(self._scene)
        before = held(self._scene)
        for runs, step in enumerate(steps(every=every)):
            plan = Plan(failure=kind.failures[failure], step=step, times=times, side=side)
            told = await self._once(act, kind, plan)
            where = f"{act.__name__}, {failure}, {side} {plan.failed}"
            if more := await settled(self._scene, before):
                self.faults.append(f"{where}: left behind {dict(more)}")
                before = held(self._scene)
            self._judge(where, told)
            if not plan.failed:
                return runs
            if (
                side == "proxy"
                and act.__name__ in ACTS_OF_KIND.get(name, ())
                and told != REPLIES.get(failure, 1)
            ):
                self.faults.append(f"{where}: the client was told {told}")
        raise AssertionError

    async def _once(self, act: Act, kind: Kind, plan: Plan) -> int:
        for proxy in (self._scene.proxy, self._scene.converter):
            proxy.log.summaries.clear()

        async def run() -> int:
            SIDE.set("client")
            return await act(self._scene)

        with failing(kind, plan):
            task = asyncio.create_task(run())
            try:
                async with asyncio.timeout(ACT_SECONDS):
                    return await task
            except TimeoutError:
                self.faults.append(f"{act.__name__}: hangs: {plan.failed}")
            except Exception as error:  # noqa: BLE001 - told with all others
                self.faults.append(f"{act.__name__}: {_told(error)}: {plan.failed}")
        return -1

    def _judge(self, where: str, told: int) -> None:
        """Check what operator and client were told."""
        self.faults += [f"{where}: unhandled in the loop: {complaint}" for complaint in self._complaints]
        self._complaints.clear()
        for proxy in (self._scene.proxy, self._scene.converter):
            self.faults += [
                f"{where}: taken for a fault of ours: {_told(error)}" for error in proxy.log.errors
            ]
            proxy.log.errors.clear()
        told_by = self._scene.converter if "converted" in where else self._scene.proxy
        replies = [one.reply for one in told_by.log.summaries]
        if told >= 0 and not any(told in TOLD_AS.get(reply, (reply,)) for reply in replies):
            self.faults.append(f"{where}: the client was told {told}, the log {replies}")


def _told(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    inner = [_told(one) for one in error.exceptions] if isinstance(error, BaseExceptionGroup) else ""
    return f"{error!r} {inner} at {where.filename}:{where.lineno}"


async def play(
    transport: str, folder: Path, kinds: Iterable[str], *, every: bool, ways: int | None = 1
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with world(transport, folder) as scene:
        for act in acts(transport).values():
            assert await act(scene) in {0, 5}, act.__name__
        trial = Trial(scene, complaints)
        for name in kinds:
            failures = [*KINDS[name].failures][:ways]
            for failure, act in itertools.product(failures, acts(transport).values()):
                if not every and act.__name__ not in FEW:
                    continue
                storm = KINDS[name].storms.get(failure, 1) if every else 1
                for side, times in itertools.product(
                    ("proxy", "client") if every else ("proxy",), {1, storm}
                ):
                    await trial.each(act, name, failure, side, times=times, every=every)
                assert await act(scene) in {0, 5}, (f"{act.__name__}, after {failure}", trial.faults)
        assert not trial.faults, "\n".join(trial.faults)


@pytest.mark.parametrize("loop_name", sorted(LOOP_FACTORIES))
def test_each_call_of_a_proxy_fails(tmp_path: Path, loop_name: str) -> None:
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(play("tcp", tmp_path, ["send", "socket"], every=False))


@pytest.mark.deep
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
@pytest.mark.parametrize(
    ("transport", "loop_name"),
    [
        ("tcp", "asyncio"),
        ("tcp", "uvloop"),
        ("tls", "uvloop"),
        ("quic", "uvloop"),
        ("quic by aioquic", "asyncio"),
    ],
)
def test_each_call_fails_in_each_way(tmp_path: Path, transport: str, loop_name: str, kind: str) -> None:
    ways = None if transport == "tcp" else 1  # how errors are told apart is no matter of the transport
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(play(transport, tmp_path, [kind], every=True, ways=ways))


async def start(folder: Path, name: str, failures: Iterable[str]) -> None:
    """Start a server with each kind of listener over and over, while one call after the other fails."""
    files = write_certificate(folder)
    urls = [
        f"mixed://{HOST}:0",
        f"socks6+tls://{HOST}:0?{files.listener_query}",
        f"socks6+quic://{HOST}:0?{files.listener_query}",
        f"socks6+unix://{folder}/socket",
    ]
    before = Counter[str]()
    for failure in failures:
        for step in itertools.count():
            with failing(KINDS[name], Plan(failure=KINDS[name].failures[failure], step=step)) as plan:
                worker = ServerWorker()
                with contextlib.suppress(OSError, ConfigurationError):
                    async with Server(urls, worker, open_to_all=True):
                        pass
                await worker.aclose()
            now = Counter(tasks=len(asyncio.all_tasks()), descriptors=len(os.listdir("/proc/self/fd")))
            before = before or now
            assert not now - before, plan.failed
            if "_remove_ours" in str(plan.failed):
                (folder / "socket").unlink()  # could not be removed: the next server replaces it
            assert not (folder / "socket").exists(), plan.failed
            if not plan.failed:
                break


@pytest.mark.parametrize("name", ["bind", "name", "option", "socket"])
def test_a_start_that_fails_leaves_nothing(run: Run, tmp_path: Path, name: str) -> None:
    run(start(tmp_path, name, [*KINDS[name].failures][:1]))


@pytest.mark.deep
@pytest.mark.parametrize("loop_name", sorted(LOOP_FACTORIES))
@pytest.mark.parametrize("name", KINDS)
def test_a_start_that_fails_in_any_way_leaves_nothing(tmp_path: Path, loop_name: str, name: str) -> None:
    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop_name]) as runner:
        runner.run(start(tmp_path, name, KINDS[name].failures))


async def serve_with(observer: Observer) -> None:
    """Have a proxy do all that it can; its log is an observer."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    with TemporaryDirectory() as folder:
        async with world("tcp", Path(folder), observer) as scene:
            for act in acts("tcp").values():
                assert await act(scene) in {0, 5}, act.__name__
            await at_rest(scene)
    assert {complaint["message"] for complaint in complaints} == {"an observer (Raising) raised"}


def test_an_observer_that_always_raises_harms_nobody(run: Run) -> None:
    class Raising(Observer):
        @override
        def observe(self, event: Event) -> None:
            raise ValueError("the observer's own")

    run(serve_with(Raising()))
