"""The program behind `--auth-pam`: asks PAM, in a process of its own for each question.

It runs alone (`python -I pam_helper.py SERVICE SECONDS`) and imports nothing of the package. Each line of its input is a
question, each of its output an answer, as docs/guide/authentication.md has them for commands.
"""

import json
import math
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

_LINUX: Final = sys.platform.startswith("linux")  # elsewhere it is OpenPAM, which has other numbers
USER_UNKNOWN: Final = 10 if _LINUX else 13
FAILURES: Final = frozenset({1, 2, 3, 4, 5, 9, 26} if _LINUX else {1, 2, 3, 4, 5, 6, 12})  # not the user's
PAM_RHOST: Final = 4


def check(service: str, name: str, password: str, source: str) -> dict[str, object]:
    """Return PAM's answer: whether the password is right, and the account may be used."""
    import pamela  # noqa: PLC0415 - which loads libpam

    if "\0" in name + password:  # for PAM it would end there
        return {"ok": False}
    conversation = pamela.new_simple_password_conv((password,), "utf-8")
    handle = pamela.pam_start(service, name, conv_func=conversation)
    if source:
        handle.set_item(PAM_RHOST, source)
    code = pamela.PAM_AUTHENTICATE(handle, 0) or pamela.PAM_ACCT_MGMT(handle, 0)
    if code in FAILURES:
        return {"error": pamela.pam_strerror(handle, code)}
    if code:
        return {"ok": False, "unknown": code == USER_UNKNOWN}
    return {"ok": True, "user": handle.get_item(pamela.PAM_USER) or name}


def serve(service: str, seconds: float) -> None:
    """Answer questions until there are no more; one that takes longer than `seconds` is given up."""
    answers = os.dup(1)  # modules may print; no program that they start inherits this
    os.dup2(2, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, object] = {}  # the questions' ids, by process
    rest, more = b"", True
    while more or children:
        readable, _, _ = select.select([woken, *([0] if more else [])], [], [])
        if woken in readable:
            os.read(woken, 512)
            for number in _reap(children):
                _answer(answers, number, {"error": "a module of PAM has crashed, or takes too long"})
        if 0 in readable:
            data = os.read(0, 65_536)
            more = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                question = json.loads(line)
                if (pid := os.fork()) == 0:
                    _check_and_exit(service, question, answers, seconds)
                children[pid] = question["id"]


def _check_and_exit(service: str, question: dict[str, str], answers: int, seconds: float) -> NoReturn:
    """Answer a question, in a process of its own; its exit code tells whether it has."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.alarm(math.ceil(seconds))  # whose default is to kill
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # other users' questions are not for modules
        answer = check(service, question["name"], question["password"], question["source"])
        _answer(answers, question["id"], answer)
        os._exit(0)
    finally:
        os._exit(1)


def _reap(children: dict[int, object]) -> Iterator[object]:
    """Return the ids of questions whose processes have ended without an answer."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        number = children.pop(pid, None)
        if status and number is not None:
            yield number


def _answer(answers: int, number: object, answer: dict[str, object]) -> None:
    os.write(
        answers, json.dumps({"id": number, **answer}).encode() + b"\n"
    )  # less than PIPE_BUF: in one piece


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
