"""What proxies and their clients read and write in the heads of HTTP/1.1 messages: targets, fields, credentials, statuses."""

import base64
import re
from http import HTTPStatus
from typing import Final, NamedTuple

from socks6.dataclass import dataclass
from socks6.errors import DecodeError
from socks6.message.address import is_literal, normalize_host
from socks6.message.codes import ReplyCode

Fields = tuple[tuple[bytes, bytes], ...]  # names as they were written, and values

MAX_TARGET_SIZE: Final = 16_384
HTTP_PORT: Final = 80
NO_PAGE: Final = "this is a proxy: it serves CONNECT and requests for http:// URLs, no pages of its own"
MAX_DETAILS: Final = 300  # characters of what caused a failure
PSEUDONYM: Final = b"socks6"  # who we are in Via and Proxy-Status

CHALLENGE: Final = (b"Proxy-Authenticate", b'Basic realm="socks6"')
CHUNKED: Final = (b"Transfer-Encoding", b"chunked")
CLOSE: Final = (b"Connection", b"close")

# RFC 9110 §7.6.1: about one connection only, and never forwarded. Trailers are not forwarded either.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy", b"proxy-authenticate", b"proxy-authentication-info",
        b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
FRAMING: Final = frozenset({b"content-length"})  # never dropped, whatever Connection names

# RFC 9110 §5.5: no value has these; who reads them anyhow takes them for spaces. Others may be kept.
_SPACES_FOR: Final = bytes.maketrans(b"\0\r\v\f", b"    ")
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_TOKEN: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_NOT_IN_NAMES: Final = re.compile(rb"[^a-z]+")
_FRAMES: Final = re.compile(rb"contentlength|transferencoding")
_REQUEST_LINE: Final = re.compile(rb"(\S+ )(.*)( HTTP/[0-9]\.[0-9]\r?\n?)", re.DOTALL)
_NO_TARGET_BYTE: Final = re.compile(rb"[\x7f-\xff]")
WS: Final = b"ws"
# A CONNECT of whose fields none means anything to a proxy; what a browser or curl sends.
_PLAIN_CONNECT: Final = re.compile(
    rb"CONNECT ([!-~]{1,300}) HTTP/1\.1\r\n"
    rb"((?:(?:(?i:Host): [!-~]+|(?i:Connection: keep-alive)|(?i:User-Agent|Proxy-Connection|Accept|Accept-Encoding):[ -~]*)\r\n)*)"
    rb"\r\n"
)
_HOST: Final = re.compile(rb"^host:", re.IGNORECASE | re.MULTILINE)
MAX_PLAIN_HEAD: Final = 8192

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_ERROR: Final = re.compile(rb";\s*error=([a-z_]+)")
_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/?#@]+)(?::([0-9]{0,5}))?")
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?(?:#.*)?")


class BadRequest(DecodeError):
    """A request that the proxy does not serve; the text is for the client."""

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(text)
        self.status: Final = status


class Failure(NamedTuple):
    """A failure in HTTP's terms: a status, an error type of RFC 9209, and perhaps its cause in words."""

    status: HTTPStatus
    error: str
    details: str = ""


class Page(NamedTuple):
    """A page of the proxy's own."""

    media_type: bytes
    body: bytes
    fields: Fields = ()


# 02 is 403, 09 is 504, the rest is 502; the error types are those of RFC 9209 §2.3
FAILURE_FOR_REPLY: Final[dict[int, Failure]] = {
    ReplyCode.GENERAL_FAILURE: Failure(HTTPStatus.BAD_GATEWAY, "proxy_internal_error"),
    ReplyCode.NOT_ALLOWED: Failure(HTTPStatus.FORBIDDEN, "http_request_denied"),
    ReplyCode.NETWORK_UNREACHABLE: Failure(HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    ReplyCode.HOST_UNREACHABLE: Failure(HTTPStatus.BAD_GATEWAY, "destination_unavailable"),
    ReplyCode.CONNECTION_REFUSED: Failure(HTTPStatus.BAD_GATEWAY, "connection_refused"),
    ReplyCode.TTL_EXPIRED: Failure(HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    ReplyCode.COMMAND_NOT_SUPPORTED: Failure(HTTPStatus.BAD_GATEWAY, "proxy_configuration_error"),
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: Failure(HTTPStatus.BAD_GATEWAY, "destination_ip_unroutable"),
    ReplyCode.CONNECTION_TIMED_OUT: Failure(HTTPStatus.GATEWAY_TIMEOUT, "connection_timeout"),
}
UNAUTHENTICATED: Final = Failure(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "http_request_denied")
BUSY: Final = Failure(HTTPStatus.SERVICE_UNAVAILABLE, "proxy_internal_error")
ORIGIN_MALFORMED: Final = Failure(HTTPStatus.BAD_GATEWAY, "http_protocol_error")
ORIGIN_BROKE: Final = Failure(HTTPStatus.BAD_GATEWAY, "http_response_incomplete")
ORIGIN_SILENT: Final = Failure(HTTPStatus.GATEWAY_TIMEOUT, "http_response_timeout")


# What a proxy's answer to CONNECT means: by the error type of Proxy-Status (RFC 9209 §2.3), by squid's name for it, by status.
# What is absent is a general failure.
REPLY_FOR_ERROR: Final[dict[bytes, ReplyCode]] = {
    b"dns_timeout": ReplyCode.HOST_UNREACHABLE,
    b"dns_error": ReplyCode.HOST_UNREACHABLE,
    b"destination_not_found": ReplyCode.HOST_UNREACHABLE,
    b"destination_unavailable": ReplyCode.HOST_UNREACHABLE,
    b"destination_ip_prohibited": ReplyCode.NOT_ALLOWED,
    b"destination_ip_unroutable": ReplyCode.NETWORK_UNREACHABLE,
    b"connection_refused": ReplyCode.CONNECTION_REFUSED,
    b"connection_timeout": ReplyCode.CONNECTION_TIMED_OUT,
    b"http_request_denied": ReplyCode.NOT_ALLOWED,
}
REPLY_FOR_SQUID: Final[dict[bytes, ReplyCode]] = {
    b"ERR_ACCESS_DENIED": ReplyCode.NOT_ALLOWED,
    b"ERR_DNS_FAIL": ReplyCode.HOST_UNREACHABLE,
    b"ERR_CONNECT_FAIL 101": ReplyCode.NETWORK_UNREACHABLE,  # and the number of an errno, as Linux has them
    b"ERR_CONNECT_FAIL 110": ReplyCode.CONNECTION_TIMED_OUT,
    b"ERR_CONNECT_FAIL 111": ReplyCode.CONNECTION_REFUSED,
    b"ERR_CONNECT_FAIL 113": ReplyCode.HOST_UNREACHABLE,
}
REPLY_FOR_STATUS: Final[dict[int, ReplyCode]] = {
    HTTPStatus.FORBIDDEN: ReplyCode.NOT_ALLOWED,
    HTTPStatus.METHOD_NOT_ALLOWED: ReplyCode.COMMAND_NOT_SUPPORTED,
    HTTPStatus.NOT_IMPLEMENTED: ReplyCode.COMMAND_NOT_SUPPORTED,
    HTTPStatus.BAD_GATEWAY: ReplyCode.HOST_UNREACHABLE,
    HTTPStatus.GATEWAY_TIMEOUT: ReplyCode.CONNECTION_TIMED_OUT,
}


def failure_for(code: int) -> Failure:
    """Return the failure for a SOCKS 6 reply code."""
    return FAILURE_FOR_REPLY.get(code, FAILURE_FOR_REPLY[ReplyCode.GENERAL_FAILURE])


def proxy_status(error: str, details: str = "") -> tuple[bytes, bytes]:
    """Return the Proxy-Status field with the reason (RFC 9209); `details` as a string of RFC 8941, in ASCII alone."""
    value = PSEUDONYM + b"; error=" + error.encode()
    if details:
        text = _NOT_PRINTABLE.sub("?", details[:MAX_DETAILS]).replace("\\", r"\\").replace('"', r"\"")
        value += f'; details="{text}"'.encode()
    return b"Proxy-Status", value


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request as its origin gets it; `fields` show whether a body follows, and how."""

    method: bytes
    target: bytes
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """A response, interim ones too, as its client gets it."""

    status: int
    reason: bytes
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteTarget:
    """The target of a request for plain http through a proxy."""

    host: str
    port: int
    path: bytes  # and query, as the origin gets it; empty if there was none

    @property
    def authority(self) -> bytes:
        """What belongs into the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == HTTP_PORT else f"{host}:{self.port}").encode()

    def origin_form(self, method: bytes) -> bytes:
        """Return the target as its origin gets it (RFC 9112 §3.2.1 and §3.2.4)."""
        if not self.path:
            return b"*" if method == b"OPTIONS" else b"/"
        return self.path if self.path.startswith(b"/") else b"/" + self.path


def decode_authority(target: bytes, default_port: int | None = None) -> tuple[str, int]:
    """Return host and port; without `default_port` the port must be there, as in CONNECT (RFC 9110 §9.3.6)."""
    match = _AUTHORITY.fullmatch(target)
    if match is None:
        raise BadRequest("the target is no host and port")
    port = int(match[2]) if match[2] else default_port
    if port is None or not 0 < port <= 0xFFFF:
        raise BadRequest("the target has no possible port")
    try:
        return normalize_host(match[1].decode("ascii")), port
    except ValueError:
        raise BadRequest("the target has no possible host") from None


def read_plain_connect(data: bytes, *, names: bool = False) -> tuple[str, int, int] | None:
    """Return host, port and length of the CONNECT that `data` begins with; None unless it is whole and plain.

    A plain one has one Host field, no credentials, and an IP address or, with `names`, a name.
    """
    match = _PLAIN_CONNECT.match(data, 0, MAX_PLAIN_HEAD)
    if match is None or len(_HOST.findall(match[2])) != 1:
        return None
    try:
        host, port = decode_authority(match[1])
    except BadRequest:
        return None
    return (host, port, match.end()) if names or is_literal(host) else None


def decode_absolute(target: bytes, *, upgrading: bool = False) -> AbsoluteTarget:
    """Parse a request's target in absolute form; with `upgrading` it may be for a WebSocket.

    User information (RFC 9110 §4.2.4) is dropped: it is nothing for the origin, and nothing for a log.
    """
    if len(target) > MAX_TARGET_SIZE:
        raise BadRequest("the target is too long", HTTPStatus.REQUEST_URI_TOO_LONG)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest(NO_PAGE)
    if match[1].lower() not in ({b"http", WS} if upgrading else {b"http"}):
        raise BadRequest("only http is forwarded; for anything else use CONNECT", HTTPStatus.NOT_IMPLEMENTED)
    host, port = decode_authority(match[2].rpartition(b"@")[2], HTTP_PORT)
    return AbsoluteTarget(host=host, port=port, path=(match[3] or b"") + (match[4] or b""))


def percent_encoded(line: bytes) -> bytes:
    """Return a request's first line with the bytes of its target that no URL has percent-encoded (RFC 3986 §2.1).

    Clients send names in UTF-8 or Latin-1 as they were typed. What is no such line stays as it is.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return line
    return match[1] + _NO_TARGET_BYTE.sub(lambda byte: b"%%%02X" % byte[0][0], match[2]) + match[3]


def mended_head(head: bytes) -> bytes:
    """Return a response's head without what is wrong with it and does no harm.

    White space before a colon goes (RFC 9112 §5.1: a proxy MUST remove it), and so do lines that are no fields,
    with the lines that continue them. Where that may be about the length of the body the head stays as it is, and
    is for a strict reader to refuse: nothing is guessed there.
    """
    status, *lines = head.split(b"\n")
    mended = [status.removesuffix(b"\r").translate(_SPACES_FOR)]
    dropping, exact = (
        True,
        False,
    )  # RFC 9112 §2.2: white space before the first field is skipped with its line
    for raw in lines:
        line = raw.removesuffix(b"\r")
        framing = _is_about_framing(line)
        if not line.startswith((b" ", b"\t")):
            line, dropping = _mended_line(line)
            exact = framing
        if dropping and framing:
            return head
        if not dropping:
            mended.append(line if exact else line.translate(_SPACES_FOR))
    return b"\n".join(mended)


def _mended_line(line: bytes) -> tuple[bytes, bool]:
    """Return a line without white space before its colon, and whether it is to be dropped; not the empty one."""
    name, colon, value = line.partition(b":")
    name = name.rstrip(b" \t")
    return name + colon + value, bool(line) and not (colon and _TOKEN.fullmatch(name))


def _is_about_framing(line: bytes) -> bool:
    """Return whether a lenient reader may take a line for one about the body's length."""
    name = line.partition(b":")[0]  # the whole line where there is no colon
    return _FRAMES.search(_NOT_IN_NAMES.sub(b"", name.lower())) is not None


def encode_basic(name: bytes, password: bytes) -> tuple[bytes, bytes]:
    """Return the Proxy-Authorization field (RFC 7617). Raises ValueError for a name with a colon."""
    if b":" in name:
        raise ValueError("HTTP has no user names with a colon in them")
    return b"Proxy-Authorization", b"Basic " + base64.b64encode(name + b":" + password)


def authority(host: str, port: int) -> bytes:
    """Return host and port as CONNECT names them."""
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def encode_request(method: bytes, target: bytes, fields: Fields) -> bytes:
    """Return the bytes of a request without a body."""
    lines = (b"%s %s HTTP/1.1" % (method, target), *(b"%s: %s" % field for field in fields), b"", b"")
    return b"\r\n".join(lines)


def decode_response(head: bytes) -> ResponseHead:
    """Return a response from its head, the empty line too. Raises DecodeError; lines that are no fields are skipped."""
    status, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
    match = _STATUS_LINE.fullmatch(status)
    if match is None:
        raise DecodeError("no status line of HTTP/1")
    fields = (line.partition(b":") for line in lines if b":" in line)
    return ResponseHead(
        status=int(match[1]),
        reason=match[2] or b"",
        fields=tuple((name.strip(), value.strip()) for name, _, value in fields),
    )


def reply_code_for(head: ResponseHead) -> ReplyCode:
    """Return the SOCKS 6 reply code for a proxy's answer to CONNECT, the most exact that its fields give."""
    if head.status // 100 == 2:
        return ReplyCode.SUCCEEDED
    error = _ERROR.search(find_field(head.fields, b"proxy-status") or b"")
    squid = find_field(head.fields, b"x-squid-error") or b""
    return (
        REPLY_FOR_ERROR.get(error[1] if error else b"")
        or REPLY_FOR_SQUID.get(squid)
        or REPLY_FOR_SQUID.get(squid.partition(b" ")[0])
        or REPLY_FOR_STATUS.get(head.status, ReplyCode.GENERAL_FAILURE)
    )


def challenges(fields: Fields) -> tuple[str, ...]:
    """Return how a proxy lets clients authenticate, in lower case; none if it does not say."""
    values = [value for name, value in fields if name.lower() == b"proxy-authenticate"]
    schemes = (match[0].decode("ascii").lower() for value in values if (match := _TOKEN.match(value)))
    return tuple(dict.fromkeys(schemes))


def failure_words(head: ResponseHead) -> str:
    """Return what a proxy's answer says for people to read: its status, and the reason, as far as it gives one."""
    about = find_field(head.fields, b"proxy-status") or find_field(head.fields, b"x-squid-error") or b""
    words = b"%d %s" % (head.status, head.reason) + (b" (%s)" % about if about else b"")
    return _NOT_PRINTABLE.sub("?", words[:MAX_DETAILS].decode("latin-1")).strip()


def decode_basic(value: bytes) -> tuple[bytes, bytes] | None:
    """Return name and password of Basic credentials (RFC 7617); None if they are none."""
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (name, password) if colon else None


def find_field(fields: Fields, name: bytes) -> bytes | None:
    """Return the first value of a field by its lower-case name; None if there is none."""
    return next((value for found, value in fields if found.lower() == name), None)


def list_items(fields: Fields, name: bytes) -> tuple[bytes, ...]:
    """Return the items of a comma-separated field, over all its lines."""
    values = b",".join(value for found, value in fields if found.lower() == name)
    return tuple(item for part in values.split(b",") if (item := part.strip()))


def connection_options(fields: Fields) -> frozenset[bytes]:
    """Return what the Connection field names, in lower case."""
    return frozenset(option.lower() for option in list_items(fields, b"connection"))


def end_to_end(fields: Fields) -> Fields:
    """Return the fields that are meant for the other end (RFC 9110 §7.6.1)."""
    dropped = (HOP_BY_HOP | connection_options(fields)) - FRAMING
    return tuple(field for field in fields if field[0].lower() not in dropped)


def via(version: bytes) -> tuple[bytes, bytes]:
    """Return the Via field for a message of an HTTP version that came through us (RFC 9110 §7.6.3)."""
    return b"Via", version + b" " + PSEUDONYM


def wanted_upgrades(fields: Fields) -> bytes:
    """Return the protocols that may take over the connection; h2c not, as its settings are not forwarded."""
    if b"upgrade" not in connection_options(fields):
        return b""
    return b", ".join(name for name in list_items(fields, b"upgrade") if name.lower() != b"h2c")
