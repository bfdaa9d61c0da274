"""Counts what one CONNECT costs the server: calls of Python functions, and system calls.

`python -m benchmarks counting` prints and keeps both for each protocol; nothing is timed, so others may use the machine. A CONNECT is: connect, handshake, 64 bytes there and
back, close; one client at a time, so that no turn of the loop is shared. Coroutines count each time they go on.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from benchmarks.load import machine
from benchmarks.load.peers import ROOT, port_of, socks6_command
from benchmarks.load.processes import Process, ProcessError

SUITE: Final = "counting"
RESULTS: Final = ROOT / "benchmarks" / "results"
COUNTS: Final = "SOCKS6_BENCHMARK_COUNTS"
"""Environment variable: the file that a server writes its counts to."""
WARM_UP: Final = 50
CONNECTS: Final = 200
SETTLING_SECONDS: Final = 0.2
ANSWER_SECONDS: Final = 10.0
PAYLOAD: Final = bytes(64)
MOST_PYTHON_CALLS: Final = 150
MOST_SYSTEM_CALLS: Final = 28
HANDSHAKES: Final = {
    # what the client sends, the target's port in the place of PP, and how long the answer is
    "socks6": ((b"\x06\x01\x00\x00PP\x00\x01\x7f\x00\x00\x01", 16),),
    "socks5": ((b"\x05\x01\x00", 2), (b"\x05\x01\x00\x01\x7f\x00\x00\x01PP", 10)),
}


def serve(arguments: Sequence[str]) -> int:
    """Run `socks6`; each SIGUSR1 has it write how often it called which Python function so far."""
    from socks6.cli import main  # noqa: PLC0415 - in the process that is measured alone

    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            code = frame.f_code
            calls[f"{code.co_filename.rpartition('/')[2][:-3]}.{code.co_qualname}"] += 1

    def show() -> None:
        while True:
            signal.sigwait({signal.SIGUSR1})
            unfinished = Path(f"{os.environ[COUNTS]}.new")
            unfinished.write_text(json.dumps(calls), "utf-8")
            unfinished.rename(os.environ[COUNTS])

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    threading.Thread(target=show, daemon=True).start()
    sys.setprofile(note)
    return main(arguments)


def python_calls(protocol: str) -> Counter[str]:
    """Return how often a CONNECT calls which Python function."""
    listen = ("server", "--listen", f"{protocol}://127.0.0.1:0")
    cores = frozenset(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as directory:
        counts = Path(directory) / "counts"
        os.environ[COUNTS] = str(counts)
        with (
            socks6_command(cores, *listen, options="-m benchmarks.load.counting") as (server, url),
            _Echo() as target,
        ):
            _connect(protocol, port_of(url), target.port, WARM_UP)
            before = _counted(server, counts)
            _connect(protocol, port_of(url), target.port, CONNECTS)
            grown = _counted(server, counts) - before
            return Counter({name: round(count / CONNECTS) for name, count in grown.items()})


def system_calls(protocol: str) -> Counter[str]:
    """Return how often a CONNECT makes which system call."""
    listen = ("server", "--listen", f"{protocol}://127.0.0.1:0")
    cores = frozenset(os.sched_getaffinity(0))
    with (
        socks6_command(cores, *listen) as (server, url),
        _Echo() as target,
        tempfile.NamedTemporaryFile("r") as summary,
    ):
        _connect(protocol, port_of(url), target.port, WARM_UP)
        command = ["strace", "-c", "-f", "-p", str(server.id), "-o", summary.name]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
            assert tracer.stderr is not None
            tracer.stderr.readline()  # "attached"
            _connect(protocol, port_of(url), target.port, CONNECTS)
            tracer.send_signal(signal.SIGINT)
        lines = (line.split() for line in Path(summary.name).read_text("utf-8").splitlines())
        counts = {words[-1]: int(words[3]) for words in lines if len(words) > 4 and words[3].isdigit()}
    counts.pop("total", None)
    return Counter({name: round(count / CONNECTS) for name, count in counts.items()})


def measure() -> dict[str, dict[str, Counter[str]]]:
    """Return how often a CONNECT of each protocol makes which "Python calls" and "system calls"."""
    return {
        protocol: {
            "Python calls": python_calls(protocol),
            "system calls": system_calls(protocol) if shutil.which("strace") else Counter(),
        }
        for protocol in HANDSHAKES
    }


def report(
    counts: Mapping[str, Mapping[str, Counter[str]]], about: Mapping[str, str], *, details: bool
) -> str:
    """Return a page with a table; with `details`, also with what was called."""
    lines = ["# What one CONNECT costs the server", ""]
    lines += [
        f"| a CONNECT by | Python calls (at most {MOST_PYTHON_CALLS}) | system calls ({MOST_SYSTEM_CALLS}) |"
    ]
    lines += ["|---|---:|---:|"]
    for protocol, kinds in counts.items():
        lines.append(
            f"| {protocol} | " + " | ".join(str(kind.total() or "-") for kind in kinds.values()) + " |"
        )
    for protocol, kinds in counts.items() if details else ():
        lines += ["", f"## {protocol}", ""]
        lines += [
            f"- {count} {name}" for kind in kinds.values() for name, count in kind.most_common() if count
        ]
    lines += ["", "## Where", "", *(f"- {name}: {value}" for name, value in about.items())]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Count, print, and keep the result."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {SUITE}", description=__doc__)
    parser.add_argument("--details", action="store_true", help="print also what was called how often")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory for the results")
    asked = parser.parse_args(words)
    about = machine.describe()
    try:
        counts = measure()
    except ProcessError as error:
        print(error, file=sys.stderr)
        return 1
    asked.output.mkdir(parents=True, exist_ok=True)
    base = asked.output / f"{about['date'].split()[0]}-{SUITE}"
    whole = {"suite": SUITE, "machine": about, "counts": counts}
    base.with_suffix(".json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    base.with_suffix(".md").write_text(report(counts, about, details=False))
    print(report(counts, about, details=asked.details), flush=True)
    return 0


class _Echo:
    """A server that sends back what comes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "_Echo":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream:
                while data := stream.recv(65536):
                    stream.sendall(data)


def _connect(protocol: str, port: int, target: int, times: int) -> None:
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port)) as client:
            for request, size in HANDSHAKES[protocol]:
                client.sendall(request.replace(b"PP", target.to_bytes(2)))
                _receive(client, size)
            client.sendall(PAYLOAD)
            _receive(client, len(PAYLOAD))
            client.shutdown(socket.SHUT_WR)
            client.recv(1)


def _receive(client: socket.socket, size: int) -> None:
    if len(client.recv(size, socket.MSG_WAITALL)) < size:
        raise RuntimeError("the server closed")


def _counted(server: Process, counts: Path) -> Counter[str]:
    time.sleep(SETTLING_SECONDS)  # the last connection's end is counted, too
    counts.unlink(missing_ok=True)
    os.kill(server.id, signal.SIGUSR1)
    until = time.monotonic() + ANSWER_SECONDS
    while not counts.exists():
        if time.monotonic() > until:
            raise ProcessError("the server does not count")
        time.sleep(0.01)
    return Counter(json.loads(counts.read_text("utf-8")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["socks6"]:
        sys.exit(serve(sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
