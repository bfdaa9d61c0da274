"""No authentication."""

from socks6.policy.identity import ANONYMOUS, Identity
from socks6.protocol.methods.userpass import UsernamePasswordCredentials
from socks6.proxy.authentication.base import NoAuthentication
from tests.kit.loops import Run


def test_nobody_is_asked() -> None:
    assert not NoAuthentication().required


def test_credentials_nobody_asked_for_do_no_harm(run: Run) -> None:
    async def scenario() -> None:
        offered = UsernamePasswordCredentials(username=b"alice", password=b"secret")
        assert await NoAuthentication().verify(offered) == ANONYMOUS

    run(scenario())


def test_only_the_anonymous_stand_on_nothing() -> None:
    assert NoAuthentication().credential_version(ANONYMOUS)
    assert NoAuthentication().credential_version(Identity(name="alice")) is None
