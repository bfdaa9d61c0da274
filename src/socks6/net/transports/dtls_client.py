"""The client's side of DTLS: conversations with one proxy. Needs the extra `dtls`."""

from typing import Final

from socks6.errors import CertificateRefused, TlsFailed
from socks6.message.address import is_literal, without_trailing_dot
from socks6.net.encryption.settings import NOTHING_SAID, TlsParameters
from socks6.net.transports.dtls import DtlsConversation, Resumable
from socks6.net.transports.dtls_contexts import client_context


class DtlsConnector:
    """Begins conversations with one proxy, each time going on with the keys of the last time if both sides can."""

    def __init__(self, host: str, said: TlsParameters = NOTHING_SAID) -> None:
        """Read the files. Raises ConfigurationError."""
        self._said: Final = said
        self._name: Final = without_trailing_dot(said.sni or host)
        self._context: Final = client_context(said)
        self._resume: Resumable | None = None

    def call(self) -> DtlsConversation:
        """Return a conversation with its first datagram to send."""
        name = "" if is_literal(self._name) else self._name
        return DtlsConversation.calling(self._context, name=name, resume=self._resume)

    def check(self, conversation: DtlsConversation) -> TlsFailed | None:
        """Return what is wrong with a conversation that has shaken hands; None if it is the proxy that is meant."""
        try:
            conversation.check_peer(self._said, self._name)
        except CertificateRefused as error:
            self._resume = None
            return error
        self._resume = conversation.resumable
        return None
