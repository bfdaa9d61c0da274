"""ssh through `socks6 connect` as its ProxyCommand, to an sshd of our own."""

import contextlib
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.kit.footprint import eventually
from tests.kit.origins import Place, big_file, checksum
from tests.kit.proxies import ENVIRONMENT, server

SIZE: Final = 10 * 2**20
SSHD: Final = "/usr/sbin/sshd"
CONFIGURATION: Final = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("ssh") and Path(SSHD).exists()), reason="openssh-client, openssh-server"
    ),
]


@dataclass(frozen=True, kw_only=True)
class SecureShell:
    """A way to run commands on this machine through sshd, ssh and a proxy."""

    place: Place
    folder: Path

    def run(self, via: str, *command: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run a command there; `given` is its standard input."""
        proxy_command = f"{sys.executable} -m socks6 connect %h %p"
        return subprocess.run(
            [*self._ssh(proxy_command), "--", *command],
            env={**ENVIRONMENT, "SOCKS6_PROXY": via},
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def _ssh(self, proxy_command: str) -> Sequence[str]:
        options = {
            "ProxyCommand": proxy_command,
            "IdentityFile": self.folder / "user_key",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        user = pwd.getpwuid(os.getuid()).pw_name
        return ["ssh", "-F", "none", *words, "-p", str(self.place.port), f"{user}@{self.place.host}"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureShell]:
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = Place(host="127.0.0.1", port=port)
    (folder / "sshd_config").write_text(CONFIGURATION.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd shuts its unprivileged part in
    with subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE) as sshd:
        try:
            assert eventually(lambda: _answers(place) or sshd.poll() is not None)
            yield SecureShell(place=place, folder=folder)
        finally:
            sshd.terminate()


def _answers(place: Place) -> bool:
    with contextlib.suppress(OSError), place.connected() as sock:
        return sock.recv(4) == b"SSH-"
    return False


def test_ssh_runs_a_command(shell: SecureShell) -> None:
    with server("--user", "alice:123456") as proxy:
        done = shell.run(proxy.as_user("alice", "123456"), "echo", "it works; exit 7")
    assert (done.stdout, done.returncode) == (b"it works\n", 7), done


def test_ten_megabytes_come_through_whole(shell: SecureShell) -> None:
    with server() as proxy:
        done = shell.run(proxy.url, "cat", given=b"".join(big_file(SIZE)))
    assert hashlib.sha256(done.stdout).hexdigest() == checksum(SIZE), done.stderr


def test_ssh_says_why_when_the_proxy_refuses(shell: SecureShell) -> None:
    with server("--user", "alice:123456") as proxy:
        done = shell.run(proxy.as_user("alice", "wrong"), "true")
    assert done.returncode == 255
    assert b"refused the password of user alice" in done.stderr, done.stderr
