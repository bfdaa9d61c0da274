"""Our command as processes that are forked off one which has imported everything already.

Starting an interpreter and importing what a server needs costs ten times what most tests do with it. Otherwise such a
process is one of its own: arguments, environment, working directory, descriptors, limits, signals, network namespace.
What happens before `main`, the command line that the system shows, and the end of the interpreter are not its own:
tests of these start `python -m socks6`.

`python -m tests.kit.fork_server DESCRIPTOR` is the server, one for each process that runs tests. It is started when it
is first needed, and ends when that process does. For each command it gets an order in JSON and these descriptors: a
socket, to which it writes the process's id and later how that ended; three standard streams; on Linux the network
namespace of the thread that asks.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NoReturn, Self

import socks6
from socks6.cli import main

ROOT: Final = Path(__file__).resolve().parent.parent.parent
NAMESPACE: Final = Path("/proc/thread-self/ns/net")
NUMBER: Final = struct.Struct("!i")
ORDER_DESCRIPTORS: Final = 5  # at most
UNCAUGHT: Final = 1  # exit codes of the interpreter
UNFLUSHED: Final = 120


class Command:
    """`socks6 ...` as a process, with a pipe for its standard error: as a subprocess.Popen would be."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        descriptors: int = 0,
    ) -> None:
        """Start it. `descriptors` is how many it may have."""
        self.returncode: int | None = None
        with contextlib.ExitStack() as ends:
            input_end, self.stdin = _standard_stream(stdin, ends, "wb")
            output_end, self.stdout = _standard_stream(stdout, ends, "rb")
            error_end, self.stderr = _standard_stream(subprocess.PIPE, ends, "rb")
            self._status, status_end = socket.socketpair()
            ends.enter_context(status_end)
            passed = [status_end.fileno(), input_end, output_end, error_end]
            if NAMESPACE.exists():
                passed.append(ends.enter_context(NAMESPACE.open()).fileno())
            order = (arguments, dict(environment), os.getcwd(), descriptors)
            _server().send(json.dumps(order).encode(), passed)
        self.pid = self._receive_number()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its streams, and wait for its end. When the block failed, it is killed."""
        if error:
            self.kill()
        try:
            for stream in (self.stdin, self.stdout, self.stderr):
                if stream:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        finally:
            self.wait()
            self._status.close()

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the same, once it has ended."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("socks6", timeout or 0)
            self.returncode = self._receive_number()
        return self.returncode

    def communicate(self, typed: bytes = b"", *, timeout: float) -> tuple[bytes, bytes]:
        """Write to its standard input, read what it prints, wait for its end. It is killed when that takes too long."""
        deadline = time.monotonic() + timeout
        with ThreadPoolExecutor() as pool:
            writing = pool.submit(_write, self.stdin, typed)
            output, errors = pool.submit(_read, self.stdout), pool.submit(_read, self.stderr)
            if wait({writing, output, errors}, timeout).not_done:
                self.kill()
        if not select.select([self._status], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self.kill()
        self.wait()
        return output.result(), errors.result()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # its end is about to be told
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _receive_number(self) -> int:
        data = self._status.recv(NUMBER.size, socket.MSG_WAITALL)
        assert data, "the fork server has ended"
        number: int = NUMBER.unpack(data)[0]
        return number


def _standard_stream(
    wished: int | IO[Any], ends: contextlib.ExitStack, mode: str
) -> tuple[int, IO[bytes] | None]:
    """Return the end that the process gets, and ours, if it is a pipe."""
    if wished == subprocess.DEVNULL:
        wished = os.open(os.devnull, os.O_RDWR)
        ends.callback(os.close, wished)
    if wished != subprocess.PIPE:
        return (wished if isinstance(wished, int) else wished.fileno()), None
    reading, writing = os.pipe()
    ours, theirs = (reading, writing) if mode == "rb" else (writing, reading)
    ends.callback(os.close, theirs)
    return theirs, os.fdopen(ours, mode)


def _write(stream: IO[bytes] | None, typed: bytes) -> bytes:
    if stream:
        with contextlib.suppress(BrokenPipeError):
            stream.write(typed)
            stream.close()
    return b""


def _read(stream: IO[bytes] | None) -> bytes:
    return stream.read() if stream and not stream.closed else b""


class _Server:
    """The fork server, seen from the tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair()
        with theirs:
            number = str(theirs.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, number], cwd=ROOT, pass_fds=[theirs.fileno()]
            )
        atexit.register(self.close)

    def send(self, order: bytes, descriptors: list[int]) -> None:
        """Have it start a command."""
        with self._lock:
            socket.send_fds(self._orders, [NUMBER.pack(len(order))], descriptors)
            self._orders.sendall(order)

    def close(self) -> None:
        """End it."""
        self._orders.close()
        self._process.wait()


@functools.cache
def _server() -> _Server:
    return _Server()


# What follows runs in the fork server, from `_run` on in a process that it forked off.


def _fork_for_orders(orders: socket.socket) -> None:
    """Fork off a process for each order. Returns in such a process when its command has ended, or with the socket."""
    ended, wake = socket.socketpair()
    ended.setblocking(False)
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the tests, who end us
    running: dict[int, socket.socket] = {}
    while True:
        readable = select.select([orders, ended], [], [])[0]
        if ended in readable:
            ended.recv(1000)
            _report_ended(running)
        if orders in readable:
            head, descriptors, _, _ = socket.recv_fds(orders, NUMBER.size, ORDER_DESCRIPTORS)
            if not head:
                return
            order = json.loads(orders.recv(NUMBER.unpack(head)[0], socket.MSG_WAITALL))
            status = socket.socket(fileno=descriptors.pop(0))
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for sock in (orders, ended, wake, status, *running.values()):
                    sock.close()
                _run(descriptors, *order)
            running[pid] = status
            status.sendall(NUMBER.pack(pid))
            for descriptor in descriptors:
                os.close(descriptor)


def _report_ended(running: dict[int, socket.socket]) -> None:
    while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
        with running.pop(ended[0]) as status, contextlib.suppress(OSError):
            status.sendall(NUMBER.pack(os.waitstatus_to_exitcode(ended[1])))


def _run(
    passed: list[int], arguments: list[str], environment: dict[str, str], folder: str, descriptors: int
) -> NoReturn:
    """Become the command, and end as an interpreter does that ran it."""
    code = UNCAUGHT
    try:
        standard_streams, namespace = passed[:3], passed[3:]
        if namespace and not os.path.samestat(os.fstat(namespace[0]), NAMESPACE.stat()):
            assert ctypes.CDLL(None).setns(namespace[0], 0) == 0
        for number, descriptor in enumerate(standard_streams):
            os.dup2(descriptor, number)
        os.closerange(3, max(passed) + 1)
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["socks6", *arguments]
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else UNCAUGHT if end.code else 0
    except BaseException:  # noqa: BLE001 - nothing above would print it
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # it waits for threads
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = UNFLUSHED
    os._exit(code)


def _import_everything() -> None:
    for module in pkgutil.walk_packages(socks6.__path__, "socks6."):
        if module.name != "socks6.__main__":
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # what is frozen is not written to, and stays common to all processes


if __name__ == "__main__":
    _import_everything()
    _fork_for_orders(socket.socket(fileno=int(sys.argv[1])))
