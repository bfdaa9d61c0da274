"""Bounds of stack options, as a file says them."""

from pathlib import Path

import pytest

from socks6.config.choices import Choices
from socks6.config.faults import InvalidConfiguration
from socks6.config.file import read_configuration
from socks6.policy.stack import OPTION_NAMES, StackRule


def choices_of(folder: Path, text: str) -> Choices:
    path = folder / "socks6.toml"
    path.write_text(text)
    return read_configuration(path).choices


def rules_of(folder: Path, text: str) -> tuple[StackRule, ...] | None:
    return choices_of(folder, text).stack


def test_no_table_says_nothing(tmp_path: Path) -> None:
    assert rules_of(tmp_path, "") is None


def test_tables_in_their_order(tmp_path: Path) -> None:
    text = """
    [[stack]]
    users = ["alice", "bob"]
    [[stack]]
    forbid = ["tfo", "multipath"]
    lowest-ttl = 5
    dscp = [0, "AF11", "cs1", 0x2e]
    """
    assert rules_of(tmp_path, text) == (
        StackRule.parse(users=["alice", "bob"]),
        StackRule.parse(forbid=["tfo", "multipath"], lowest_ttl=5, dscp=[0, 10, 8, 46]),
    )


def test_single_values_need_no_brackets(tmp_path: Path) -> None:
    text = '[[stack]]\nusers = "alice"\nforbid = "ttl"\ndscp = "ef"'
    assert rules_of(tmp_path, text) == (StackRule.parse(users=["alice"], forbid=["ttl"], dscp=[46]),)


def test_no_code_point_at_all_may_be_asked_for(tmp_path: Path) -> None:
    assert rules_of(tmp_path, "[[stack]]\ndscp = []") == (StackRule.parse(dscp=[]),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stack = 5", "1: stack: expected a list, got a whole number"),
        ("stack = [\n5]", "2: stack[0]: expected a table, got a whole number"),
        ("[[stack]]\nforbids = []", "2: stack[0].forbids: unknown key, did you mean forbid?"),
        (
            '[[stack]]\n[[stack]]\nforbid = ["ttl",\n"tls"]',
            f"4: stack[1].forbid[1]: 'tls' is no stack option: write {', '.join(OPTION_NAMES)}",
        ),
        ("[[stack]]\nforbid = [5]", "2: stack[0].forbid[0]: expected text in quotes, got a whole number"),
        ("[[stack]]\nlowest-ttl = 0", "2: stack[0].lowest-ttl: expected a whole number >= 1"),
        ("[[stack]]\nlowest-ttl = 256", "2: stack[0].lowest-ttl: expected a whole number <= 255"),
        (
            '[[stack]]\ndscp = [\n"ef",\n64]',
            "4: stack[0].dscp[1]: '64' is no code point: write 0 to 63, or a name such as ef",
        ),
        (
            "[[stack]]\ndscp = -1",
            "2: stack[0].dscp[0]: '-1' is no code point: write 0 to 63, or a name such as ef",
        ),
        (
            '[[stack]]\ndscp = "best"',
            "2: stack[0].dscp[0]: 'best' is no code point: write 0 to 63, or a name such as ef",
        ),
        ("[[stack]]\nusers = 5", "2: stack[0].users: expected text in quotes or a list, got a whole number"),
    ],
)
def test_a_fault_has_line_and_key(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        choices_of(tmp_path, text)
    assert caught.value.lines == (f"{tmp_path}/socks6.toml:{fault}",)


def test_every_fault_of_a_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        choices_of(tmp_path, '[[stack]]\nforbid = "x"\ndscp = ["y", "z"]\nlowest-ttl = "w"')
    assert len(caught.value.lines) == 4
