"""Standard streams that are always open and never waited for."""

import errno
import fcntl
import io
import os
import subprocess
import sys
import threading

import pytest
from typing_extensions import override

from socks6.cli.standard_streams import BackgroundWriter, background_standard_error
from tests.kit.failing import KINDS, Plan, failing

PATIENCE = 20.0


def test_what_is_written_arrives_in_order() -> None:
    below = io.StringIO()
    writer = BackgroundWriter(below)
    for number in range(1000):
        print(number, file=writer)
    writer.finish(PATIENCE)
    assert below.getvalue() == "".join(f"{number}\n" for number in range(1000))


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
        "123456\nsocks6: 4 lines of log were dropped: they were not read in time\nlast\n"
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
