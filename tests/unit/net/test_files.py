"""Files that are read while others write them."""

import os
from pathlib import Path
from types import NoneType

import pytest

from socks6.net.files import ATTEMPTS, CONFIRM_SECONDS, read_stable, write_atomically
from tests.kit.failing import KINDS, each_failing

LONG_AGO = 1_000_000_000


def test_a_file_that_has_rested_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"all")
    path.chmod(0o640)
    os.utime(path, (LONG_AGO, LONG_AGO))
    pauses: list[float] = []
    contents = read_stable(path, pause=pauses.append)
    assert (contents.data, contents.mode & 0o777, pauses) == (b"all", 0o640, [CONFIRM_SECONDS])


def test_a_file_that_is_empty_before_its_time_says_so_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    os.utime(path, (LONG_AGO, LONG_AGO))

    def go_on(_: float) -> None:
        path.write_bytes(b"all")
        os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))

    assert read_stable(path, pause=go_on).data == b"all"


def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"half\n")

    def go_on(_: float) -> None:
        if path.read_bytes() == b"half\n":
            path.write_bytes(b"half\nwhole\n")
        else:
            os.utime(path, (LONG_AGO, LONG_AGO))

    assert read_stable(path, pause=go_on).data == b"half\nwhole\n"


def test_a_file_that_does_not_come_to_rest_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    pauses: list[float] = []

    def go_on(seconds: float) -> None:
        pauses.append(seconds)
        path.write_bytes(b"x" * len(pauses))

    with pytest.raises(OSError, match="being written"):
        read_stable(path, pause=go_on)
    assert len(pauses) == ATTEMPTS


def test_a_pipe_is_read_once() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"piped")
    os.close(writer)
    try:
        assert read_stable(f"/dev/fd/{reader}", pause=_never).data == b"piped"
    finally:
        os.close(reader)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_whichever_call_fails_a_file_is_old_or_new_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    held = len(os.listdir("/dev/fd"))
    runs = 0
    for what, error in each_failing("file", lambda: write_atomically(path, b"new")):
        assert isinstance(error, OSError if what else NoneType), what
        assert path.read_bytes() == (b"new" if error is None else b"old"), what
        assert os.listdir(tmp_path) == ["file"], what
        assert len(os.listdir("/dev/fd")) <= held, what  # fewer, if what an earlier test left was collected
        path.write_bytes(b"old")
        runs += 1
    assert runs > len(KINDS["file"].failures)


def test_whichever_call_fails_reading_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"all")
    os.utime(path, (LONG_AGO, LONG_AGO))
    held = len(os.listdir("/dev/fd"))
    for what, error in each_failing("file", lambda: read_stable(path, pause=lambda _: None)):
        assert isinstance(error, OSError if what else NoneType), what
        assert len(os.listdir("/dev/fd")) <= held, what  # fewer, if what an earlier test left was collected


def _never(_: float) -> None:
    raise AssertionError("nobody writes it")


def test_what_is_private_is_so_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for private, mode in ((False, 0o600), (False, 0o644), (True, 0o600)):
        write_atomically(path, b"x", private=private)
        assert path.stat().st_mode & 0o777 == mode
        path.chmod(0o644)
