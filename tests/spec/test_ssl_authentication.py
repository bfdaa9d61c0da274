"""§ SSL Authentication: banned within SOCKS itself."""

import pytest
from typing_extensions import override

from socks6.message.options import AuthenticationData, AuthenticationMethodAdvertisement
from socks6.protocol.methods.userpass import UsernamePasswordServer
from socks6.protocol.states import ClientState
from socks6.proxy.inbounds.socks6 import Socks6Inbound
from tests.kit.challenge import ChallengeClient
from tests.kit.playbook import received, sent
from tests.kit.scenes import asking, client, judged, server

SSL = 6


class SSLClient(ChallengeClient):
    """Would carry it out."""

    @property
    @override
    def number(self) -> int:
        return SSL


def test_a_proxy_cannot_be_configured_to_offer_it() -> None:
    with pytest.raises(ValueError, match="banned"):
        Socks6Inbound(methods={SSL: UsernamePasswordServer})


def test_a_servers_conversation_cannot_offer_it() -> None:
    with pytest.raises(ValueError, match="banned"):
        server(methods={SSL: UsernamePasswordServer})


def test_a_client_cannot_advertise_it() -> None:
    with pytest.raises(ValueError, match="banned"):
        client(methods=(SSLClient(),))


def test_it_is_not_selected_when_a_client_advertises_it() -> None:
    judged(AuthenticationMethodAdvertisement(methods=(SSL,))) << sent("06 01 0008", "0003 0008 ff 000000")


def test_its_data_are_no_credentials() -> None:
    judged(AuthenticationData(method=SSL, data=b"\x16\x03\x01")) << sent("06 01 0000")


def test_a_client_does_not_follow_a_proxy_that_selects_it() -> None:
    scene = asking(methods=(ChallengeClient(),))
    scene >> received("06 01 0008", "0003 0008 06 000000")
    assert scene.machine.state is ClientState.CLOSED
