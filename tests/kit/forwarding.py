"""`socks6 forward` as a process of its own."""

import contextlib
import signal
from collections.abc import Iterator

from tests.kit.origins import Place
from tests.kit.processes import END_SECONDS, started


@contextlib.contextmanager
def forward(
    via: str, remote: Place, *arguments: str, local: str = "0", complaint: str = ""
) -> Iterator[Place]:
    """Run it until the block ends; give the place where it listens. It must end well then, with no other complaint."""
    host = f"[{remote.host}]" if ":" in remote.host else remote.host
    words = (*arguments, local, f"{host}:{remote.port}")
    with started("forward", *words, environment={"SOCKS6_PROXY": via}) as process:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert line.startswith("listening on "), line
        near, _, port = line.split()[2].rpartition(":")
        yield Place(host=near.strip("[]"), port=int(port))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=END_SECONDS)
        complaints = [line for line in said.decode().splitlines() if not line.startswith("through ")]
        assert process.returncode == 0, complaints
        assert all(complaint and complaint in line for line in complaints), complaints
