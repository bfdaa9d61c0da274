"""PostgreSQL is asked through a proxy."""

import asyncio

import asyncpg
import pytest

from socks6 import ConnectionRefused
from socks6.adapters.asyncpg import EventLoop
from tests.kit.adapted import Adapted
from tests.kit.postgres import postgres


def test_what_connects_is_the_proxy(world: Adapted) -> None:
    """The loop is the running one in all else; with a socket of the caller's, it connects nowhere."""

    async def main() -> None:
        async with EventLoop(world.url("socks6")) as loop:
            assert loop.time() <= asyncio.get_running_loop().time()
            with pytest.raises(ConnectionRefused):
                await asyncpg.connect(
                    host=world.refusing.host, port=world.refusing.port, loop=loop, ssl=False
                )
            with pytest.raises(ValueError, match="host and port"):
                await loop.create_connection(asyncio.Protocol)

    asyncio.run(main())


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["socks6", "socks6+tls"])
def test_queries_and_a_pool(world: Adapted, kind: str) -> None:
    async def main() -> None:
        with postgres() as place:
            where = {"host": place.host, "port": place.port, "user": "postgres"}
            async with EventLoop(world.url(kind)) as loop:
                connection = await asyncpg.connect(**where, loop=loop)
                assert await connection.fetchval("select 6 * 7") == 42
                with pytest.raises(TimeoutError):
                    await connection.fetchval("select pg_sleep(20)", timeout=0.1)
                assert await connection.fetchval("select 1") == 1
                await connection.close()
                async with asyncpg.create_pool(**where, loop=loop, min_size=1) as pool:
                    queries = [pool.fetchval("select $1::int", number) for number in range(20)]
                    assert await asyncio.gather(*queries) == list(range(20))

    asyncio.run(main())
