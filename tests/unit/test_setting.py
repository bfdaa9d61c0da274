"""Settings: fields that carry all that is to be known of them."""

from dataclasses import dataclass, field
from typing import Final

import pytest

from socks6.setting import TABLE, build, reloadable_keys, setting, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int = setting(3, "how large")
    idle_timeout: float | None = setting(None, "how long", key="timeouts.idle", flag="--idle")
    internal: int = 5  # no setting: for callers alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    open_to_all: bool = setting(False, "whether", key="open", reload=True)
    speed: int = setting(1, "how fast", values={"slow": 1, "fast": 2})
    box: Inner = field(default_factory=Inner)
    flat: Inner = field(default_factory=Inner, metadata={TABLE: ""})


BY_PATH: Final = {declared.path: declared for declared in settings_of(Outer)}


def test_keys_come_from_names_and_tables() -> None:
    assert [declared.key for declared in settings_of(Outer)] == [
        "open", "speed", "box.size", "timeouts.idle", "size", "timeouts.idle",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        (("open_to_all",), ("", "open", "--open", bool, False, "")),
        (("speed",), ("", "speed", "--speed", str, 1, "slow|fast")),
        (("box", "size"), ("box", "size", "--box-size", int, 3, "NUMBER")),
        (("box", "idle_timeout"), ("timeouts", "idle", "--idle", float, None, "SECONDS")),
    ],
)
def test_a_setting_knows_its_place(path: tuple[str, ...], facts: tuple[object, ...]) -> None:
    found = BY_PATH[path]
    assert (found.table, found.name, found.flag, found.kind, found.default, found.unit) == facts


def test_what_is_not_given_is_as_declared() -> None:
    assert build(Outer, {}) == Outer()
    assert build(Outer, {"box.size": 4, "open": True}) == Outer(box=Inner(size=4), open_to_all=True)


def test_keys_that_a_reload_changes() -> None:
    assert reloadable_keys(Outer) == {"open"}


def test_a_secret_is_not_shown() -> None:
    @dataclass(frozen=True)
    class Keeper:
        password: str = setting("x", "the password", secret=True)

    assert "s3cret" not in repr(Keeper(password="s3cret"))
