"""An SSH client's connection goes through a proxy."""

import asyncio

import asyncssh
import pytest
from typing_extensions import override

from socks6 import AuthenticationFailed, ConnectionRefused
from socks6.adapters.asyncssh import Tunnel
from tests.kit.adapted import Adapted


class Open(asyncssh.SSHServer):
    """Lets everybody in."""

    @override
    def begin_auth(self, username: str) -> bool:
        del username
        return False


async def greet(process: "asyncssh.SSHServerProcess[str]") -> None:
    process.stdout.write(f"hello {process.command}")
    process.exit(0)


@pytest.mark.parametrize("kind", ["socks6", "socks6+tls"])
def test_a_command_runs_through_a_proxy(world: Adapted, kind: str) -> None:
    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.create_server(
            Open, "127.0.0.1", 0, server_host_keys=[key], process_factory=greet
        )
        async with server, Tunnel(world.url(kind)) as tunnel:
            port = server.get_port()
            async with asyncssh.connect("127.0.0.1", port, tunnel=tunnel, known_hosts=None) as connection:
                assert (await connection.run("world")).stdout == "hello world"

    asyncio.run(main())


def test_failures_are_ours(world: Adapted) -> None:
    async def main() -> None:
        for url, kind in (
            (world.url("socks6"), ConnectionRefused),
            (world.wrong_password("socks6"), AuthenticationFailed),
        ):
            async with Tunnel(url) as tunnel:
                with pytest.raises(kind):
                    await asyncssh.connect(world.refusing.host, world.refusing.port, tunnel=tunnel)

    asyncio.run(main())
