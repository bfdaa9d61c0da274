"""Logger `socks6.wire`, on both sides of a conversation that is all secrets."""

import asyncio
import logging
import re
from collections import Counter

import pytest

from socks6 import Client, Policy, Server, ServerWorker
from tests.kit.loops import Run
from tests.kit.proxied import LOOPBACK, USERS, as_alice, echoing

pytestmark = pytest.mark.e2e


def message(line: str) -> str:
    """Return the class of a line's message."""
    return line.split(maxsplit=2)[2].partition("(")[0]


def test_both_sides_show_every_message_and_no_secret(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with (
            echoing() as port,
            Server(
                [LOOPBACK], ServerWorker(authenticator=USERS, policy=Policy(allow_private=True))
            ) as server,
            Client(as_alice(server), session=True) as client,
        ):
            async with await client.connect("127.0.0.1", port, initial_data=b"hi", idempotent=True) as stream:
                await stream.send_eof()
                while await stream.receive(65536):
                    pass
            async with client.associate() as association:
                await association.send(b"to nobody", ("127.0.0.1", port))

    with caplog.at_level(logging.DEBUG, logger="socks6.wire"):
        run(scene())
    lines = [record.getMessage() for record in caplog.records if record.name == "socks6.wire"]
    proxies = [line for line in lines if "socks6://" in line.split()[1]]
    clients = [line for line in lines if line not in proxies]
    # what one side sends, the other receives
    turned = {"<": ">", ">": "<"}
    assert Counter((turned[line[0]], message(line)) for line in proxies) == Counter(
        (line[0], message(line)) for line in clients
    )
    text = "\n".join(lines)
    assert "Request(command=" in text
    assert "SessionId(id=<16 bytes>)" in text
    assert "IdempotenceExpenditure(token=***)" in text
    assert "AuthenticationData(method=2, data=<" in text
    assert "AssociationInitialization(association_id=***)" in text
    assert "wonder" not in text
    assert not re.search(r"(token|base|association_id)=\d", text)


def test_it_is_off_where_it_was_not_asked_for(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Server([LOOPBACK], ServerWorker()) as server, Client(server.urls[0]) as client:
            await client.noop()
            await asyncio.sleep(0)

    with caplog.at_level(logging.INFO, logger="socks6"):
        run(scene())
    assert not [record for record in caplog.records if record.name == "socks6.wire"]
