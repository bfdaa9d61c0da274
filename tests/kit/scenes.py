"""Conversations at the point where a test begins: the request is out, the client is let in, and so on."""

from collections.abc import Callable, Mapping

from socks6.message.codes import Command
from socks6.message.options import Option
from socks6.message.requests import Request
from socks6.protocol.client import ClientConversation
from socks6.protocol.methods.base import ServerMethod
from socks6.protocol.methods.userpass import (
    UsernamePasswordClient,
    UsernamePasswordCredentials,
    UsernamePasswordServer,
)
from socks6.protocol.server import ServerConversation
from tests.kit.challenge import NUMBER, ChallengeServer
from tests.kit.playbook import Playbook, Received

METHODS: Mapping[int, Callable[[], ServerMethod]] = {2: UsernamePasswordServer, NUMBER: ChallengeServer}
ALICE = UsernamePasswordCredentials(username=b"alice", password=b"123456")


def alice() -> UsernamePasswordClient:
    """Return the client's side of username/password."""
    return UsernamePasswordClient(ALICE)


def server(*, required: bool = False, **settings: object) -> Playbook[ServerConversation]:
    """Return a server that waits for a request and knows username/password and the challenge."""
    chosen = {"methods": METHODS, "authentication_required": required, "deadline": 10.0, **settings}
    return Playbook(ServerConversation(**chosen))  # type: ignore[arg-type]  # tests name settings freely


def judged(
    *options: Option, command: int = Command.CONNECT, data: bytes = b"", required: bool = True
) -> Playbook[ServerConversation]:
    """Return a server that has a request with these options, and has begun to judge its credentials."""
    scene = server(required=required)
    scene >> Received(Request(command=command, host="127.0.0.1", port=80, options=options).encode() + data)
    scene.machine.next_event()
    scene.machine.authenticate()
    return scene


def admitted(
    *options: Option, command: int = Command.CONNECT, data: bytes = b""
) -> Playbook[ServerConversation]:
    """Return a server that has told a client without credentials that it is let in."""
    scene = judged(*options, command=command, data=data, required=False)
    scene.machine.next_event()
    scene.machine.send_authenticated()
    scene.machine.data_to_send()
    return scene


def client(
    command: int = Command.CONNECT, *, options: tuple[Option, ...] = (), **settings: object
) -> Playbook[ClientConversation]:
    """Return a client that has its request still to send."""
    request = Request(command=command, host="127.0.0.1", port=80, options=options)
    return Playbook(ClientConversation(request, **settings))  # type: ignore[arg-type]  # tests name settings freely


def asking(command: int = Command.CONNECT, **settings: object) -> Playbook[ClientConversation]:
    """Return a client whose request is out."""
    scene = client(command, **settings)  # type: ignore[arg-type]  # tests name settings freely
    scene.machine.data_to_send()
    return scene
