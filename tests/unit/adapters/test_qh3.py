"""HTTP/3 by qh3 goes through a proxy."""

import asyncio

import pytest
from qh3.quic.configuration import QuicConfiguration

from socks6.adapters.qh3 import connect
from tests.kit.adapted import LATER, Adapted
from tests.kit.http3 import http3_client


@pytest.mark.parametrize("kind", LATER)
def test_http3_comes_through(world: Adapted, kind: str) -> None:
    async def main() -> None:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
        configuration.load_verify_locations(cafile=world.site.ca_file)
        async with (
            asyncio.timeout(20),
            connect(
                world.url(kind),
                "localhost",
                world.site.port,
                configuration=configuration,
                create_protocol=http3_client("qh3"),
            ) as http,
        ):
            answers = await asyncio.gather(*(http.get("localhost", "/version") for _ in range(10)))
            assert set(answers) == {b"3"}

    asyncio.run(main())


def test_a_certificate_that_is_not_trusted(world: Adapted) -> None:
    async def main() -> None:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
        with pytest.raises(ConnectionError):
            async with (
                asyncio.timeout(20),
                connect(
                    world.url("socks6"),
                    "localhost",
                    world.site.port,
                    configuration=configuration,
                    create_protocol=http3_client("qh3"),
                ),
            ):
                pass

    asyncio.run(main())
