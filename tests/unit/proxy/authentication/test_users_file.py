"""The users file."""

import stat
from pathlib import Path

import bcrypt
import pytest

from socks6.errors import ConfigurationError
from socks6.proxy.authentication.users_file import (
    check_name,
    format_entry,
    parse_users,
    read_users_file,
    set_entry,
)

OTHER = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


def write(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a users file."""
    path = folder / "users"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def complaint(text: str) -> str:
    """Return what is wrong with a file's text."""
    with pytest.raises(ConfigurationError) as raised:
        parse_users(text, "users")
    return str(raised.value)


def test_each_line_is_a_user() -> None:
    entries = parse_users(f"alice:{HASH}\nbob:{HASH}\n", "users")
    assert list(entries) == ["alice", "bob"]
    assert entries["bob"].matches(b"secret")


def test_comments_and_blank_lines_count_for_nothing() -> None:
    assert list(parse_users(f"# staff\n\n  \r\n\t# more\nalice:{HASH}\r\n", "users")) == ["alice"]


def test_a_line_needs_a_colon() -> None:
    assert complaint("\nalice\n") == "users:2: not of the form name:hash"


def test_a_name_stands_once() -> None:
    assert complaint(f"alice:{HASH}\n\nalice:{HASH}") == "users:3: 'alice' is there already"


def test_a_plain_password_is_refused_without_being_quoted() -> None:
    message = complaint("alice:hunter2")
    assert message.startswith("users:1: what stands for the password of 'alice' is not a hash")
    assert "`socks6 passwd alice`" in message
    assert "hunter2" not in message


def test_a_name_that_cannot_be_is_refused() -> None:
    assert complaint(f"al\x1bice:{HASH}").startswith("users:1: user name 'al\\x1bice'")


@pytest.mark.parametrize("name", ["alice", "ålice@example.com", "a b", "x" * 255])
def test_most_names_can_be(name: str) -> None:
    check_name(name)
    assert list(parse_users(format_entry(name, HASH), "users")) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":",
        "a:b",
        " alice",
        "alice ",
        "#alice",
        "a\nb",
        "a\x00",
        "a\u2028b",
        "\ud800",
        "x" * 256,
        "ü" * 128,
    ],
)
def test_some_names_cannot(name: str) -> None:
    with pytest.raises(ConfigurationError, match="user name"):
        format_entry(name, HASH)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = read_users_file(write(tmp_path, b"\xef\xbb\xbf" + f"ålice:{HASH}\n".encode()))
    assert list(file.entries) == ["ålice"]
    assert file.warnings == ()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="users: No such file"):
        read_users_file(tmp_path / "users")


def test_a_file_that_is_not_text_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="users:2: not UTF-8"):
        read_users_file(write(tmp_path, f"alice:{HASH}\n".encode() + b"b\xffb:x\n"))


@pytest.mark.parametrize(
    ("mode", "warnings"),
    [
        (0o600, []),
        (0o640, []),
        (0o604, ["chmod o-r"]),
        (0o620, ["chmod go-w"]),
        (0o666, ["chmod o-r", "chmod go-w"]),
    ],
)
def test_a_file_open_to_others_is_warned_of(tmp_path: Path, mode: int, warnings: list[str]) -> None:
    path = write(tmp_path, f"alice:{HASH}\n".encode(), mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [warning.partition("try ")[2] for warning in read_users_file(path).warnings] == warnings


def test_a_file_without_users_is_warned_of(tmp_path: Path) -> None:
    (warning,) = read_users_file(write(tmp_path, b"# nobody yet\n")).warnings
    assert warning.endswith("users: holds no users, so that no client can log in")


def test_a_file_that_ends_in_the_middle_of_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="its last line has no end"):
        read_users_file(write(tmp_path, f"alice:{HASH}".encode()))
    assert read_users_file(write(tmp_path, b"")).entries == {}


def test_a_user_is_set_and_all_else_stays(tmp_path: Path) -> None:
    path = write(tmp_path, f"# staff\u2028bob:x\r\n\nalice:{HASH}\r\n # alice:\nbob:{HASH}\n".encode(), 0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert set_entry(link, "alice", OTHER)
    assert not set_entry(link, "carol", OTHER)
    assert path.read_bytes().decode() == (
        f"# staff\u2028bob:x\r\n\n # alice:\nbob:{HASH}\nalice:{OTHER}\ncarol:{OTHER}\n"
    )
    assert (stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == (0o640, True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "users"]


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    set_entry(tmp_path / "users", "alice", HASH)
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == 0o600


def test_a_file_that_is_wrong_is_not_changed(tmp_path: Path) -> None:
    path = write(tmp_path, b"alice\n")
    with pytest.raises(ConfigurationError, match="users:1: not of the form"):
        set_entry(path, "bob", HASH)
    assert path.read_bytes() == b"alice\n"
    with pytest.raises(ConfigurationError, match="No such file"):
        set_entry(tmp_path / "nowhere" / "users", "bob", HASH)
