"""What is in force of the stack options that a client asked for, permitted or not (§ Stack options)."""

import socket
from collections.abc import Iterable

from socks6.message.codes import Leg
from socks6.message.options import StackOption
from socks6.net.sockets import stream_socket
from socks6.net.stackopts import effective_options, merge_legs


def whole_truth(
    asked: tuple[StackOption, ...],
    permitted: tuple[StackOption, ...],
    far: tuple[StackOption, ...],
    *,
    client: socket.socket | None,
    remote: socket.socket | None,
) -> tuple[StackOption, ...]:
    """Return the answer for both legs, `far` being what the way out has said.

    `remote` is the socket of the far leg, for what was not permitted; None where another proxy has it.
    """
    if remote is not None:
        far += effective_options(remote, _refused(asked, permitted), Leg.PROXY_REMOTE)
    near = () if client is None else effective_options(client, asked, Leg.CLIENT_PROXY)
    return merge_legs(near, far)


def listening_truth(
    asked: tuple[StackOption, ...],
    permitted: tuple[StackOption, ...],
    far: tuple[StackOption, ...],
    *,
    client: socket.socket | None,
    family: int | None,
) -> tuple[StackOption, ...]:
    """Return the same where nobody has connected yet: what was not permitted is as on any new socket.

    `family` is the listener's, None where another proxy has it.
    """
    if family is None or not _refused(asked, permitted):
        return whole_truth(asked, permitted, far, client=client, remote=None)
    with stream_socket(family) as fresh:
        return whole_truth(asked, permitted, far, client=client, remote=fresh)


def _refused(asked: Iterable[StackOption], permitted: Iterable[StackOption]) -> list[StackOption]:
    kinds = {type(option) for option in permitted}
    return [option for option in asked if type(option) not in kinds]
