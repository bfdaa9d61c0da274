"""`socks6 bind` as a process of its own, and what it prints."""

import contextlib
import io
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from tests.kit.footprint import Footprint
from tests.kit.fork_server import Command
from tests.kit.origins import Place
from tests.kit.proxies import ENVIRONMENT, START_SECONDS, STOP_SECONDS


@dataclass(kw_only=True)
class Published:
    """A service that is published."""

    process: Command
    said: list[str] = field(default_factory=list)  # on standard error
    told: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)  # on standard output

    def next_place(self) -> Place:
        """Wait for the next public address that it prints."""
        line = self.told.get(timeout=START_SECONDS)
        assert line.startswith("published at "), (line, self.said)
        host, _, port = line.removeprefix("published at ").strip().rpartition(":")
        return Place(host=host.strip("[]"), port=int(port))

    def complained(self, line: str) -> None:
        """Take a line of standard error; that which says through whom it goes is none to complain of."""
        if not line.startswith("through "):
            self.said.append(line)

    @property
    def footprint(self) -> Footprint:
        """What it holds now."""
        return Footprint.of(self.process.pid)


@contextlib.contextmanager
def published(via: str, target: Place, *flags: str, ends_with: int = 0) -> Iterator[Published]:
    """Run `socks6 bind` until the block ends; it must end well then, and never have had a fault."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    words = ["bind", "--drain", "0.2", *flags, f"{host}:{target.port}"]
    with Command(*words, environment={**ENVIRONMENT, "SOCKS6_PROXY": via}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        running = Published(process=process)
        readers = [
            threading.Thread(target=_each, args=(process.stdout, running.told.put)),
            threading.Thread(target=_each, args=(process.stderr, running.complained)),
        ]
        for reader in readers:
            reader.start()
        try:
            yield running
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == ends_with, running.said
        finally:
            process.kill()
            for reader in readers:
                reader.join()
        assert not [text for text in running.said if "Traceback" in text], running.said


def _each(stream: IO[bytes], take: Callable[[str], None]) -> None:
    with io.TextIOWrapper(stream, "utf-8") as lines:
        for line in lines:
            take(line)
    take("")
