"""§ Handling BIND: what binds in the conversation."""

import pytest

from socks6.errors import LocalProtocolError
from socks6.message.codes import Command
from socks6.message.dialect import GO_212
from socks6.message.replies import OperationReply
from socks6.protocol.client import ClientConversation
from socks6.protocol.events import OperationAnswered, PeerConnected
from socks6.protocol.states import ClientState, ServerState
from tests.kit.playbook import Playbook, eof, nothing, received, sent, unread
from tests.kit.scenes import admitted, asking

BOUND = OperationReply(code=0, host="192.0.2.1", port=4711)
PEER = OperationReply(code=0, host="2001:db8::7", port=9)
OTHER = OperationReply(code=0, host="192.0.2.9", port=10)


def bound(**settings: object) -> Playbook[ClientConversation]:
    """Return a client that has its first Operation Reply."""
    scene = asking(Command.BIND, **settings)
    scene >> received("06 00 0000", BOUND.encode().hex())
    scene.machine.next_event()
    scene << OperationAnswered(reply=BOUND)
    return scene


def test_a_client_must_wait_for_a_second_reply() -> None:
    scene = bound()
    assert scene.machine.state is ClientState.AWAITING_PEER


def test_the_second_reply_tells_the_connecting_host() -> None:
    scene = bound()
    scene >> received(PEER.encode().hex()) << PeerConnected(reply=PEER)


def test_after_the_second_reply_data_may_pass() -> None:
    scene = bound()
    scene >> received(PEER.encode().hex(), "6869") << PeerConnected(reply=PEER) << unread(b"hi")
    assert scene.machine.state is ClientState.STREAMING


def test_a_failing_second_reply_makes_the_client_close() -> None:
    scene = bound()
    scene >> received("06 09 0000 0000 00 01 00000000")
    assert scene.machine.state is ClientState.CLOSED


def test_the_proxy_replies_when_it_listens_and_when_somebody_connects() -> None:
    scene = admitted(command=Command.BIND)
    scene.machine.send_reply(BOUND)
    scene << sent(BOUND.encode().hex())
    scene.machine.send_reply(PEER)
    scene << sent(PEER.encode().hex())
    assert scene.machine.state is ServerState.STREAMING


def test_there_is_no_third_reply() -> None:
    scene = admitted(command=Command.BIND)
    scene.machine.send_reply(BOUND)
    scene.machine.send_reply(PEER)
    with pytest.raises(LocalProtocolError):
        scene.machine.send_reply(PEER)


def test_a_proxy_that_fails_to_listen_says_so_in_the_first_reply() -> None:
    scene = admitted(command=Command.BIND)
    scene.machine.send_reply(OperationReply(code=2))
    assert scene.machine.state is ServerState.CLOSING


def test_nobody_in_time_is_told_by_09_in_the_second_reply() -> None:
    scene = admitted(command=Command.BIND)
    scene.machine.send_reply(BOUND)
    scene.machine.data_to_send()
    scene.machine.send_reply(OperationReply(code=9))
    scene << sent("06 09 0000 0000 00 01 00000000")
    assert scene.machine.state is ServerState.CLOSING


def test_the_listening_ends_with_the_connection() -> None:
    scene = admitted(command=Command.BIND)
    scene.machine.send_reply(BOUND)
    scene >> eof
    assert scene.machine.state is ServerState.CLOSING


def test_a_client_without_announcements_takes_the_second_reply_for_its_peer() -> None:
    scene = bound()
    scene >> received(PEER.encode().hex(), OTHER.encode().hex()) << PeerConnected(reply=PEER) << nothing


def test_a_client_copes_with_every_peer_being_announced() -> None:
    scene = bound(announcements=True)
    scene >> received(PEER.encode().hex(), OTHER.encode().hex())
    scene << PeerConnected(reply=PEER) << PeerConnected(reply=OTHER) << nothing
    assert scene.machine.state is ClientState.AWAITING_PEER


def test_older_implementations_get_each_peer_announced_on_the_first_connection() -> None:
    scene = admitted(command=Command.BIND)
    scene.machine.send_reply(BOUND)
    scene.machine.data_to_send()
    scene.machine.send_announcement(PEER)
    scene.machine.send_announcement(OTHER)
    scene << sent(PEER.encode().hex(), OTHER.encode().hex())
    assert OperationReply.decode(OTHER.encode(GO_212), GO_212) == OTHER
