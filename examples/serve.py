"""A server of one's own: users, rules, and a line for each connection.

python examples/serve.py socks6://127.0.0.1:1080 mixed://127.0.0.1:1081
"""

import asyncio
import sys

from typing_extensions import override

from socks6 import ConnectionSummary, NullObserver, Policy, Rule, Server, ServerWorker, UserTable


class Printer(NullObserver):
    """Prints where clients went."""

    @override
    def listening(self, url: str) -> None:
        print(f"listening on {url}", flush=True)

    @override
    def connection_ended(self, summary: ConnectionSummary) -> None:
        print(
            f"{summary.user} {summary.command} {summary.host}:{summary.port} {summary.ending.value}",
            flush=True,
        )


async def serve(*urls: str) -> None:
    """Serve until cancelled."""
    worker = ServerWorker(
        authenticator=UserTable.from_plain({"alice": "wonderland"}),
        policy=Policy(allow_private=True, rules=(Rule.parse("deny", ports=["25"]),)),
        observer=Printer(),
    )
    async with Server(urls, worker) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
