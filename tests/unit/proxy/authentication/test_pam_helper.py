"""The program that asks PAM, with a PAM that does what the tests say."""

import json
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Final

import pytest

from socks6.proxy.authentication import pam_helper

PAMELA: Final = """
import os, signal, sys, time
PAM_USER = 2
class Handle:
    items = {}
    def set_item(self, number, text): self.items[number] = text
    def get_item(self, number): return f"{self.name}@{self.items.get(4, 'here')}"
def new_simple_password_conv(passwords, encoding): return passwords
def pam_start(service, name, conv_func):
    handle = Handle()
    handle.service, handle.name, handle.passwords = service, name, conv_func
    return handle
def PAM_AUTHENTICATE(handle, flags):
    print("a module's chatter", flush=True)
    assert sys.stdin.read() == ""  # no other question
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    match handle.name:
        case "crash": os.abort()
        case "raise": raise OSError
        case "hang": time.sleep(60)
        case "slow": time.sleep(0.3)
        case "nobody": return 10
        case "broken": return 4
    return 0 if handle.passwords == ("right",) else 7
def PAM_ACCT_MGMT(handle, flags): return 13 if handle.name == "expired" else 0
def pam_strerror(handle, code): return f"error {code}"
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux-PAM's")


def question(number: int, name: str, password: str = "right", source: str = "") -> dict[str, object]:
    return {"id": number, "name": name, "password": password, "source": source}


def test_each_question_has_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "pamela.py").write_text(PAMELA)
    starter = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r});"
        f"sys.argv = ['helper', 'service', '1']; runpy.run_path({pam_helper.__file__!r}, run_name='__main__')"
    )
    questions = [
        question(1, "slow"),
        question(2, "alice", source="192.0.2.1"),
        question(3, "alice", "wrong"),
        question(4, "nobody"),
        question(5, "expired"),
        question(6, "broken"),
        question(7, "crash"),
        question(8, "raise"),
        question(9, "hang"),
        question(10, "alice\0x"),
    ]
    lines = "".join(json.dumps(one) + "\n" for one in questions)
    result = subprocess.run(
        [sys.executable, "-I", "-c", starter],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    failed = {"error": "a module of PAM has crashed, or takes too long"}
    assert {answer.pop("id"): answer for answer in answers} == {
        1: {"ok": True, "user": "slow@here"},
        2: {"ok": True, "user": "alice@192.0.2.1"},
        3: {"ok": False, "unknown": False},
        4: {"ok": False, "unknown": True},
        5: {"ok": False, "unknown": False},
        6: {"error": "error 4"},
        7: failed,
        8: failed,
        9: failed,
        10: {"ok": False},
    }
    assert "chatter" in result.stderr


def test_it_imports_nothing_of_the_package() -> None:
    before = set(sys.modules)
    runpy.run_path(pam_helper.__file__)
    assert not {name for name in set(sys.modules) - before if name.startswith("socks6")}


def test_the_account_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("pamela")
    exec(PAMELA.replace("assert", "0 and"), fake.__dict__)  # no process of its own here
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(read=lambda: ""))
    monkeypatch.setitem(sys.modules, "pamela", fake)
    assert pam_helper.check("service", "expired", "right", "") == {"ok": False, "unknown": False}
    assert pam_helper.check("service", "alice", "right", "") == {"ok": True, "user": "alice@here"}
