"""Pay once, in one round trip: a session, and a request that the network cannot double.

    python examples/once.py socks6://alice:secret@127.0.0.1:1080 example.com 80

The session is opened ahead, so that the password is not in what follows. `idempotent=True` spends a token of it:
with TCP Fast Open the request and its data travel in the SYN, and are carried out once even if that comes twice.
"""

import asyncio
import sys

from socks6 import Client, TokenRejected


async def post(client: Client, host: str, port: int) -> bytes:
    """Place an order that must not be placed twice; return the answer."""
    order = b"POST /order HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
    async with await client.connect(host, port, initial_data=order, idempotent=True) as stream:
        answer = b""
        while data := await stream.receive():
            answer += data
    return answer


async def main(proxy: str, host: str, port: int) -> None:
    """Order twice, on purpose."""
    async with Client(proxy, fast_open=True) as client:
        print("session" if await client.open_session() else "no session")
        for _ in range(2):
            try:
                answer = await post(client, host, port)
            except TokenRejected:
                print("the order may have been placed: look before you order again")
            else:
                print(answer.partition(b"\r\n")[0].decode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
