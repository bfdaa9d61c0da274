"""A program that knows the users."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from socks6.errors import AuthenticationBusy, ConfigurationError
from socks6.policy.identity import Identity
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication import command as command_module
from socks6.proxy.authentication.command import CommandAuthenticator, command_words
from socks6.proxy.authentication.external import ExternalSettings, FailureCause, Health
from socks6.telemetry import AuthenticatorDown, AuthenticatorUp, EventHub
from tests.kit.loops import Run
from tests.kit.outbounds import Recorder

PROGRAM: Final = """
import json, os, sys, time
def tell(**answer):
    print(json.dumps(answer), flush=True)
held = []
for line in sys.stdin:
    question = json.loads(line)
    number, name = question["id"], question["name"]
    match name:
        case "pid": tell(id=number, ok=True, user=f"{os.getpid()}")
        case "environment": tell(id=number, ok=True, user=" ".join(sorted(os.environ)) or "none")
        case "descriptors": tell(id=number, ok=True, user=" ".join(sorted(os.listdir("/proc/self/fd"))))
        case "first": held.append(number)
        case "second":
            tell(id=number, ok=True)
            tell(id=held.pop(), ok=True)
        case "hang": time.sleep(60)
        case "deaf": pass
        case "exit": sys.exit(3)
        case "closed": os.close(1); time.sleep(60)
        case "words": print("hello")
        case "strange": tell(id=number + 7, ok=True)
        case "long": print("x" * 70_000)
        case "odd": tell(id=number, ok="yes")
        case "late": time.sleep(0.12); tell(id=number, ok=True)
        case _: tell(id=number, ok=question["password"] == "right")
    sys.stdout.flush()
"""


class Asked:
    """An authenticator by such a program, and what it has told."""

    def __init__(self, authenticator: CommandAuthenticator) -> None:
        self.authenticator = authenticator
        self.recorder = Recorder()
        authenticator.report_to(EventHub([self.recorder]))

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.recorder.of(AuthenticatorDown)]

    async def knock(self, name: str, password: str = "right") -> str | None:
        credentials = UsernamePasswordCredentials(username=name.encode(), password=password.encode())
        identity = await self.authenticator.verify(credentials)
        return None if identity is None else identity.name

    async def fails(self, name: str) -> str:
        with pytest.raises(AuthenticationBusy):
            await self.knock(name)
        return self.reasons[-1]


@contextlib.asynccontextmanager
async def asked(folder: Path, program: str = PROGRAM, **settings: float) -> AsyncIterator[Asked]:
    path = folder / "program.py"
    path.write_text(program)
    words = [sys.executable, "-I", "-S", str(path)]
    authenticator = CommandAuthenticator(words, ExternalSettings(**{"timeout": 5.0, **settings}))
    try:
        yield Asked(authenticator)
    finally:
        authenticator.close()
        await authenticator.wait_closed()


async def gone(pid: str) -> bool:
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC240 - of the kernel's memory
            return True
        await asyncio.sleep(0.02)
    return False


def test_it_is_asked_by_lines_and_answers_in_any_order(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path) as it, asyncio.TaskGroup() as group:
            assert await it.knock("alice") == "alice"
            assert await it.knock("alice", "wrong") is None
            first = group.create_task(it.knock("first"))
            await asyncio.sleep(0)
            assert await it.knock("second") == "second"
            assert await first == "first"
            assert not it.recorder.events

    run(ask())


def test_it_gets_no_secret_and_no_descriptor_of_ours(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCKS6_USERS", "alice:secret")
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)

    async def ask() -> None:
        async with asked(tmp_path) as it:
            names = (await it.knock("environment") or "").split()
            assert set(names) <= {*command_module.PASSED_VARIABLES, "LC_CTYPE", "none"}
            assert await it.knock("descriptors") == "0 1 2 3"  # the last is the listing's own

    run(ask())
    os.close(inherited)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("exit", "it ended: exit code 3"),
        ("closed", "it ended: it closed standard output"),
        ("words", "no valid answer: not JSON"),
        ("strange", "no valid answer: its id is that of no question"),
        ("long", "no valid answer: a line of more than 65536 bytes"),
    ],
)
def test_one_that_ends_or_lies_lets_nobody_in_and_is_started_anew(
    run: Run, tmp_path: Path, name: str, reason: str
) -> None:
    async def ask() -> None:
        async with asked(tmp_path, cache=0) as it, asyncio.TaskGroup() as group:
            pid = await it.knock("pid") or ""
            waiting = group.create_task(it.fails("deaf"))
            await asyncio.sleep(0)
            assert await it.fails(name) == reason
            await waiting  # what was under way fails, too
            assert await it.knock("pid") not in {None, pid}
            assert await gone(pid)
            assert it.reasons == [reason]
            assert isinstance(it.recorder.events[-1], AuthenticatorUp)

    run(ask())


def test_one_that_hangs_is_killed(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path, timeout=0.4) as it:
            pid = await it.knock("pid") or ""
            assert await it.fails("hang") == "no answer: it hangs"
            assert await gone(pid)
            assert await it.knock("alice") == "alice"

    run(ask())


def test_one_that_answers_others_does_not_hang(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path, timeout=0.3, cache=0) as it, asyncio.TaskGroup() as group:
            pid = await it.knock("pid")
            waiting = group.create_task(it.fails("deaf"))
            await asyncio.sleep(0.1)
            assert await it.knock("alice") == "alice"
            assert await waiting == "no answer: within 0.3 s"
            assert await it.knock("pid") == pid

    run(ask())


def test_what_is_wrong_with_one_answer_is_that_questions(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path, cache=0) as it:
            pid = await it.knock("pid")
            assert await it.fails("odd") == "no valid answer: ok is neither true nor false"
            assert await it.knock("pid") == pid

    run(ask())


def test_an_answer_that_nobody_waits_for_any_more_is_no_lie(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path, cache=0) as it:
            pid = await it.knock("pid")
            with pytest.raises(TimeoutError):  # the client leaves
                async with asyncio.timeout(0.05):
                    await it.knock("late")
            assert await it.knock("pid") == pid
            assert not it.recorder.events

    run(ask())


def test_one_that_dies_unasked_is_told_of(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path) as it:
            pid = await it.knock("pid") or ""
            os.kill(int(pid), 9)
            assert await gone(pid)
            await asyncio.sleep(0.15)
            assert it.reasons == ["it ended: killed by signal 9"]

    run(ask())


def test_one_that_ends_at_once_is_not_started_for_each_question(run: Run, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = f"open({str(starts)!r}, 'a').write('x')"

    async def ask() -> None:
        async with asked(tmp_path, program) as it:
            for _ in range(20):
                await it.fails("alice")
            assert starts.read_text() == "xx"  # once more at once, then after a while
            assert it.reasons == ["it ended: exit code 0"]

    run(ask())


def test_one_that_cannot_be_started_is_told_of(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        authenticator = CommandAuthenticator([str(tmp_path / "nothing")])
        it = Asked(authenticator)
        assert await it.fails("alice") == "it cannot be started: No such file or directory"
        authenticator.close()
        await authenticator.wait_closed()
        await it.fails("alice")  # nor is it started after the end

    run(ask())


def test_one_that_reads_nothing_is_not_asked_without_end(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path, "import time; time.sleep(60)", timeout=0.5) as it:
            questions = [it.fails(f"{number}{'x' * 250}") for number in range(400)]
            it.authenticator._free = asyncio.Semaphore(400)  # type: ignore[misc]
            await asyncio.gather(*questions)
            assert {reason.partition(":")[0] for reason in it.reasons} == {
                FailureCause.OVERLOADED.value,
                FailureCause.NO_ANSWER.value,
            }

    run(ask())


def test_a_reload_keeps_one_that_is_the_same(run: Run, tmp_path: Path) -> None:
    async def ask() -> None:
        async with asked(tmp_path) as it:
            old = it.authenticator
            pid = await it.knock("pid") or ""
            for words, same in (
                (old.key, True),
                ([sys.executable, "-I", "-S", str(tmp_path / "program.py"), "x"], False),
            ):
                new = CommandAuthenticator(words)  # type: ignore[arg-type]
                new.inherit(old)
                old.close()
                credentials = UsernamePasswordCredentials(username=b"pid", password=b"again")
                identity = await new.verify(credentials)
                assert (identity == Identity(name=pid)) is same
                old = new
            assert await gone(pid)
            old.close()
            await old.wait_closed()

    run(ask())


def test_one_that_does_not_end_with_its_input_is_killed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_module, "CLOSE_SECONDS", 0.2)

    async def ask() -> None:
        program = PROGRAM + "\ntime.sleep(60)"
        async with asked(tmp_path, program) as it:
            pid = await it.knock("pid") or ""
        assert await gone(pid)
        assert not it.recorder.events

    run(ask())


def test_commands_are_read_as_a_shell_reads_them() -> None:
    assert command_words("/bin/sh -c 'echo a b'") == ("/bin/sh", "-c", "echo a b")


@pytest.mark.parametrize(
    ("text", "fault"),
    [("'", "no command"), (" ", "it is empty"), ("/nowhere/at-all x", "no program '/nowhere/at-all'")],
)
def test_commands_that_cannot_be(text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        command_words(text)


def test_names_are_for_operators() -> None:
    assert isinstance(CommandAuthenticator(["x"]).health, Health)
    assert CommandAuthenticator.name == "command"
