"""A server that asks a database: who may come from where, and where to; and prints who came.

python examples/own_server.py socks6://127.0.0.1:1080
"""

import asyncio
import hmac
import sqlite3
import sys
from ipaddress import ip_address, ip_network

from typing_extensions import override

from socks6 import (
    Authenticator,
    ConnectionEnded,
    ConnectionInfo,
    Event,
    Identity,
    Listening,
    NotAllowed,
    Observer,
    Policy,
    ProxyRequest,
    Server,
    ServerWorker,
)
from socks6.protocol.methods.base import Credentials
from socks6.protocol.methods.userpass import UsernamePasswordCredentials

SCHEMA = """
CREATE TABLE users (name TEXT PRIMARY KEY, password TEXT, network TEXT);
CREATE TABLE hosts (user TEXT, host TEXT);
INSERT INTO users VALUES ('alice', 'wonderland', '127.0.0.0/8'), ('bob', 'builder', '192.0.2.0/24');
INSERT INTO hosts VALUES ('alice', 'localhost');
"""


class Database:
    """Answers in a thread, so that the proxy goes on meanwhile."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.executescript(SCHEMA)
        self._lock = asyncio.Lock()

    async def find(self, query: str, *values: str) -> tuple[str, ...] | None:
        """Return the first row."""
        async with self._lock:
            return await asyncio.to_thread(lambda: self._connection.execute(query, values).fetchone())


class DatabaseUsers(Authenticator):
    """Verifies passwords, and that users come from where they may."""

    required = True

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def verify(self, credentials: Credentials, source: str = "") -> Identity | None:
        if not isinstance(credentials, UsernamePasswordCredentials):
            return None
        name = credentials.username.decode(errors="replace")
        found = await self._database.find("SELECT password, network FROM users WHERE name = ?", name)
        password, network = found or ("", "0.0.0.0/32")
        right = hmac.compare_digest(password.encode(), credentials.password)
        return Identity(name=name) if right and ip_address(source) in ip_network(network) else None


class Printer(Observer):
    """Prints where clients went."""

    wants = (Listening, ConnectionEnded)

    @override
    def observe(self, event: Event) -> None:
        match event:
            case Listening():
                print(f"listening on {event.url}", flush=True)
            case ConnectionEnded():
                print(f"{event.user or event.source} {event.host}:{event.port} {event.reply}", flush=True)
            case _:
                pass


async def serve(*urls: str) -> None:
    """Serve until cancelled."""
    database = Database()

    async def judge(request: ProxyRequest, client: ConnectionInfo) -> None:
        query = "SELECT host FROM hosts WHERE user = ? AND host = ?"
        if await database.find(query, client.user, request.host) is None:
            raise NotAllowed("not in the database")

    worker = ServerWorker(
        authenticator=DatabaseUsers(database),
        judge_request=judge,
        policy=Policy(allow_private=True),
        observers=[Printer()],
    )
    async with Server(urls, worker) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
