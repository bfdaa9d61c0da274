"""Every way to fail has an exception of its own, which is the matching OSError too.

python examples/reply_codes.py socks6://127.0.0.1:1080 127.0.0.1 1
"""

import asyncio
import sys

from socks6 import AuthenticationFailed, Client, OperationFailed, ProxyUnreachable


async def explain(proxy: str, host: str, port: int) -> str:
    """Say in words how an attempt to connect went."""
    try:
        async with await Client(proxy, timeout=10.0).connect(host, port) as stream:
            return f"connected; the proxy's end is {stream.bound.host} port {stream.bound.port}"
    except ConnectionRefusedError:
        return "nothing listens there"
    except OperationFailed as failure:
        return f"reply code {failure.code}: {failure.reason}"
    except AuthenticationFailed as error:
        return f"not let in: {error}"
    except ProxyUnreachable as error:
        return f"no proxy: {error}"


if __name__ == "__main__":
    print(asyncio.run(explain(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
