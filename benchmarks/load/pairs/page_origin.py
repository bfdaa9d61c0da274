"""The page's hosts: `python -m benchmarks.load.pairs.page_origin ADDRESS LOADS`.

Each load has ports of its own, which stand for hosts, so that no connection is open yet. A browser begins at the first
port, "/start", which leads to the page of load 0, and that on to the next. The first line printed is the port to begin
at; then, for each load, a line of JSON: its milliseconds from navigation to the load event, how many resources failed, how
many connections were made, and from which address.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, urlsplit

RESOURCES: Final = 100
HOSTS: Final = 10
START_PAUSE_MS: Final = 400
"""After which a browser has started whatever it starts."""
PATIENCE: Final = 60.0
SCRIPT_OF_PAGE: Final = """\
let failed = 0;
addEventListener('error', () => failed++, true);
addEventListener('load', () => {
  const ms = performance.timing.loadEventStart - performance.timing.navigationStart;
  location = `http://HERE/start?load=LOAD&ms=${ms}&failed=${failed}`;
});
"""


def sizes() -> list[int]:
    """Return the sizes of the resources in bytes: 1 to 8 kB, 4.4 kB on average."""
    return [1000 * (1 + number * 5 % 8) for number in range(RESOURCES)]


def page(host: str, begin: int, ports: Sequence[int], load: int) -> str:
    """Return the page of a load, which takes its resources from all the load's ports."""
    lines = [
        f"<script>{SCRIPT_OF_PAGE.replace('HERE', f'{host}:{begin}').replace('LOAD', str(load))}</script>"
    ]
    for number, size in enumerate(sizes()):
        url = f"http://{host}:{ports[number % len(ports)]}/{number}/{size}"
        kind = number % 4
        if kind == 0:
            lines.append(f'<link rel="stylesheet" href="{url}.css">')
        elif kind == 1:
            lines.append(f'<script defer src="{url}.js"></script>')
        else:
            lines.append(f'<img width="8" height="8" src="{url}.svg">')
    return "<!doctype html><meta charset=utf-8><title>a page</title>" + "\n".join(lines)


def start(url: str) -> str:
    """Return the page that leads to another after a while; "" for none."""
    go = f"setTimeout(() => {{ location = '{url}' }}, {START_PAUSE_MS})" if url else ""
    return f"<!doctype html><title>start</title><script>{go}</script>"


def resource(path: str) -> tuple[str, bytes]:
    """Return the type and the content of "/NUMBER/SIZE.KIND"."""
    name, _, kind = path.rpartition("/")[2].partition(".")
    size = int(name)
    if kind == "svg":
        image = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><!--%s--></svg>'
        return "image/svg+xml", image % (b"x" * (size - len(image) + 2))
    return {"css": "text/css", "js": "text/javascript"}[kind], b"/*" + b"x" * (size - 4) + b"*/"


class Origin:
    """All the hosts."""

    def __init__(self, host: str, loads: int) -> None:
        self._host = host
        self._loads = loads
        self._begin = 0
        self._ports: list[list[int]] = []
        self._connections = 0

    async def serve(self) -> None:
        """Listen, say where, answer until cancelled."""
        self._begin = await self._listen()
        self._ports = [[await self._listen() for _ in range(HOSTS)] for _ in range(self._loads)]
        print(self._begin, flush=True)
        await asyncio.Event().wait()

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._client, self._host, 0, backlog=256)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        source: str = writer.get_extra_info("peername")[0]
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                while True:
                    async with asyncio.timeout(PATIENCE):
                        request = await reader.readuntil(b"\r\n\r\n")
                    kind, content = self._answer(request.split(b" ", 2)[1].decode(), source)
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
                    writer.write(f"{head}Cache-Control: no-store\r\n\r\n".encode() + content)
        finally:
            writer.close()

    def _answer(self, target: str, source: str) -> tuple[str, bytes]:
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        if url.path == "/start":
            return "text/html", self._started(query, source).encode()
        if url.path == "/page":
            load = int(query["load"])
            return "text/html", page(self._host, self._begin, self._ports[load], load).encode()
        if url.path == "/favicon.ico":
            return "image/x-icon", b""
        return resource(url.path)

    def _started(self, query: dict[str, str], source: str) -> str:
        load = -1
        if "load" in query:
            load = int(query["load"])
            seen = {"ms": float(query["ms"]), "failed": int(query["failed"])}
            print(json.dumps({**seen, "connections": self._connections, "from": source}), flush=True)
        self._connections = 0
        if load + 1 == self._loads:
            return start("")
        return start(f"http://{self._host}:{self._ports[load + 1][0]}/page?load={load + 1}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Origin(sys.argv[1], int(sys.argv[2])).serve())
