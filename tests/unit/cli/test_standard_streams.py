"""Standard streams that are always open and never waited for."""

import errno
import fcntl
import io
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typing_extensions import override

from socks6.cli import standard_streams
from socks6.cli.standard_streams import BackgroundWriter, LogFile, background_standard_error
from tests.kit.failing import KINDS, Plan, failing

PATIENCE = 20.0


def test_what_is_written_arrives_in_order() -> None:
    below = io.StringIO()
    writer = BackgroundWriter(below)
    for number in range(1000):
        print(number, file=writer)
    writer.finish(PATIENCE)
    assert below.getvalue() == "".join(f"{number}\n" for number in range(1000))


def test_lines_of_a_crowd_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard_streams, "PAUSE_SECONDS", 5.0)
    reader, written = os.pipe()
    with os.fdopen(written, "w") as stream:
        writer = BackgroundWriter(stream)
        writer.write("first\n")
        assert os.read(reader, 100) == b"first\n"
        time.sleep(0.05)
        for number in range(3):
            writer.write(f"{number}\n")
        assert select.select([reader], [], [], 0.05)[0] == []
        writer.finish(1.0)
        assert os.read(reader, 100) == b"0\n1\n2\n"
    os.close(reader)


def test_a_pipe_that_nobody_reads_stops_no_writer_and_what_was_lost_is_told() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    lines: list[str] = []
    with os.fdopen(reading) as reader:
        drain = threading.Thread(target=lambda: lines.extend(reader))
        with os.fdopen(writing, "w") as stream:
            writer = BackgroundWriter(stream, capacity=8192)
            for _ in range(1000):
                writer.write(99 * "x" + "\n")  # 100 000 characters into room for some 12 000
            drain.start()
            with writer._changed:
                assert writer._changed.wait_for(lambda: not writer._size, PATIENCE)
            writer.write("last\n")
            writer.finish(PATIENCE)
        drain.join(PATIENCE)
    lost = sum(int(line.split()[1]) for line in lines if "dropped" in line)
    assert lines.count(99 * "x" + "\n") + lost == 1000
    assert lost >= 700
    assert lines[-1] == "last\n"


def test_lines_that_were_lost_are_counted_once_there_is_room_again() -> None:
    gate, busy = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        @override
        def write(self, text: str, /) -> int:
            busy.set()
            gate.wait(PATIENCE)
            return super().write(text)

    below = Slow()
    writer = BackgroundWriter(below, capacity=10)
    writer.write("123456\n")
    assert busy.wait(PATIENCE)
    for _ in range(4):  # no room, as long as the first is not written
        writer.write("123456\n")
    gate.set()
    with writer._changed:
        assert writer._changed.wait_for(lambda: not writer._size, PATIENCE)
    writer.write("last\n")
    writer.finish(PATIENCE)
    assert below.getvalue() == (
        "123456\nsocks6: 4 lines of log were dropped: they could not be written in time\nlast\n"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_a_stream_that_refuses_raises_nothing(number: int) -> None:
    class Refusing(io.StringIO):
        @override
        def write(self, text: str, /) -> int:
            raise OSError(number, os.strerror(number))

    writer = BackgroundWriter(Refusing())
    print("hello", file=writer)
    writer.finish(PATIENCE)
    print("too late", file=writer)


def test_without_a_thread_lines_wait_for_the_next() -> None:
    below = io.StringIO()
    writer = BackgroundWriter(below)
    with failing(KINDS["thread"], Plan(failure=KINDS["thread"].failures["RuntimeError"])):
        print("kept", file=writer, end="")
    print(" and written", file=writer)
    writer.finish(PATIENCE)
    assert below.getvalue() == "kept and written\n"


def test_a_block_has_it_as_standard_error_and_flushes_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with background_standard_error():
        print("from the block", file=sys.stderr)
    print("after it", file=sys.stderr)
    assert capsys.readouterr().err == "from the block\nafter it\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_descriptors_are_opened(closed: tuple[int, ...]) -> None:
    program = (
        "import os, sys\n"
        f"for fd in {closed}: os.close(fd)\n"
        "from socks6.cli.standard_streams import open_standard_streams\n"
        "open_standard_streams()\n"
        f"assert all(os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev for fd in {closed})\n"
        "assert os.open(os.devnull, os.O_RDONLY) > 2\n"
        "assert None not in (sys.stdin, sys.stdout, sys.stderr)\n"
        "os._exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=PATIENCE).returncode == 7


def appended(path: Path, *lines: str) -> BackgroundWriter:
    """Return a writer that has written these to a log file."""
    writer = BackgroundWriter(LogFile(str(path)))
    for line in lines:
        write(writer, line)
    return writer


def write(writer: BackgroundWriter, line: str) -> None:
    """Write a line, and wait until that is done."""
    writer.write(f"{line}\n")
    with writer._changed:
        assert writer._changed.wait_for(lambda: not writer._size, PATIENCE)


def test_a_log_file_is_appended_to_and_its_group_may_read_it(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        appended(tmp_path / "log", "one").finish(PATIENCE)
    finally:
        os.umask(umask)
    appended(tmp_path / "log", "two").finish(PATIENCE)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert (tmp_path / "log").stat().st_mode & 0o7777 == 0o640


def test_a_log_file_that_was_renamed_is_closed(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    before = log.fileno()
    (tmp_path / "log").rename(tmp_path / "log.1")
    after = log.fileno()
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(before)
    finally:
        os.close(after)


def test_a_log_file_that_was_renamed_is_made_anew(tmp_path: Path) -> None:
    writer = appended(tmp_path / "log", "one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    write(writer, "two")
    (tmp_path / "log").unlink()
    write(writer, "three")
    assert (tmp_path / "log.1").read_text() == "one\n"
    assert (tmp_path / "log").read_text() == "three\n"


def test_a_log_file_that_was_truncated_goes_on_at_its_beginning(tmp_path: Path) -> None:
    writer = appended(tmp_path / "log", "one")
    os.truncate(tmp_path / "log", 0)
    write(writer, "two")
    assert (tmp_path / "log").read_bytes() == b"two\n"


def test_a_full_disk_is_told_once_and_what_was_lost_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 6

    def os_write(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real_write(descriptor, data[:room])
        room -= written
        return written

    real_write = os.write
    errors: list[OSError] = []
    writer = BackgroundWriter(LogFile(str(tmp_path / "log")), on_failure=errors.append)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", os_write)
        for line in ("1234", "5678", "nothing of it"):
            write(writer, line)
    write(writer, "last")
    assert (tmp_path / "log").read_text() == (
        "1234\n5\nsocks6: 2 lines of log were dropped: they could not be written in time\nlast\n"
    )
    assert [error.errno for error in errors] == [errno.ENOSPC]
