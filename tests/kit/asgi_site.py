"""A web site of another's server (Hypercorn): HTTP/1.1 and 2 and WebSockets over TLS, HTTP/3 over QUIC."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

PAGE = b"it works"
SLOW_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class AsgiSite:
    """A running site: / answers PAGE, /version the version of HTTP, /slow after SLOW_SECONDS; what is posted comes back."""

    host: str
    port: int  # the same of TCP and UDP
    ca_file: str

    @property
    def url(self) -> str:
        """Its address, over TLS."""
        return f"https://{self.host}:{self.port}"

    def trusting(self) -> ssl.SSLContext:
        """Return a context that trusts its certificate."""
        return ssl.create_default_context(cafile=self.ca_file)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request or WebSocket (ASGI)."""
    match scope["type"]:
        case "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": f"you said {message['text']}"})
        case "http":
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            if scope["path"] == "/slow":
                await asyncio.sleep(SLOW_SECONDS)
            answer = scope["http_version"].encode() if scope["path"] == "/version" else body or PAGE
            length = str(len(answer)).encode()
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
            )
            await send({"type": "http.response.body", "body": answer})
        case _:  # the server starts and ends
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})


@contextlib.contextmanager
def asgi_site(folder: Path, *, host: str = "127.0.0.1") -> Iterator[AsgiSite]:
    """Run the site as a process; `folder` is for its certificate, which is for `host` and localhost."""
    authority = trustme.CA()
    ca_file, certificate, key = (str(folder / name) for name in ("site-ca.pem", "site.pem", "site.key"))
    authority.cert_pem.write_to_path(ca_file)
    issued = authority.issue_cert(host, "localhost")
    Path(certificate).write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    with socket.create_server((host, 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        port = listener.getsockname()[1]
        datagrams.bind((host, port))
        descriptors = listener.fileno(), datagrams.fileno()
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "hypercorn",
                    "--workers",
                    "0",
                    "--certfile",
                    certificate,
                    "--keyfile",
                    key,
                ),
                *("--bind", f"fd://{descriptors[0]}", "--quic-bind", f"fd://{descriptors[1]}"),
                *("--error-logfile", os.devnull, "tests.kit.asgi_site:app"),
            ],
            cwd=Path(__file__).parents[2],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield AsgiSite(host=host, port=port, ca_file=ca_file)
    finally:
        process.kill()
        process.wait()
