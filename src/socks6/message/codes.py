"""The numbers of the wire: commands, reply codes, address types, methods, legs, levels.

Fields of messages are plain `int` wherever a peer may send a number that we do not know.
"""

from enum import IntEnum


class Command(IntEnum):
    """What a request asks for (§ Requests)."""

    NOOP = 0x00
    CONNECT = 0x01
    BIND = 0x02
    UDP_ASSOCIATE = 0x03


class ReplyCode(IntEnum):
    """How an operation went (§ Operation Replies)."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08
    CONNECTION_TIMED_OUT = 0x09


class AddressType(IntEnum):
    """How an address is written (§ Requests)."""

    IPV4 = 0x01
    DOMAIN_NAME = 0x03
    IPV6 = 0x04


class AuthenticationType(IntEnum):
    """The type of an Authentication Reply (§ Authentication Replies)."""

    SUCCEEDED = 0x00
    FAILED = 0x01


class Method(IntEnum):
    """Authentication methods (RFC 1928, IANA)."""

    NONE = 0x00
    GSSAPI = 0x01
    USERNAME_PASSWORD = 0x02
    SSL = 0x06  # banned (§ SSL Authentication)
    NO_ACCEPTABLE = 0xFF


class MessageType(IntEnum):
    """UDP association messages (§ Handling UDP ASSOCIATE)."""

    INITIALIZATION = 0x01
    CONFIRMATION = 0x02
    DATAGRAM = 0x03
    ERROR = 0x04


class DatagramErrorCode(IntEnum):
    """The meaning of an ICMP error (§ Reporting ICMP Errors)."""

    NETWORK_UNREACHABLE = 0x01
    HOST_UNREACHABLE = 0x02
    TTL_EXPIRED = 0x03
    TOO_BIG = 0x04


class OptionKind(IntEnum):
    """Option kinds (§ IANA Considerations; StreamID is of the QUIC extension)."""

    STACK = 1
    AUTHENTICATION_METHOD_ADVERTISEMENT = 2
    AUTHENTICATION_METHOD_SELECTION = 3
    AUTHENTICATION_DATA = 4
    SESSION_REQUEST = 5
    SESSION_ID = 6
    SESSION_OK = 8
    SESSION_INVALID = 9
    SESSION_TEARDOWN = 10
    IDEMPOTENCE_REQUEST = 11
    IDEMPOTENCE_WINDOW = 12
    IDEMPOTENCE_EXPENDITURE = 13
    IDEMPOTENCE_ACCEPTED = 14
    IDEMPOTENCE_REJECTED = 15
    STREAM_ID = 0xFD10


class Leg(IntEnum):
    """Which part of the path a stack option is about (§ Stack options)."""

    CLIENT_PROXY = 1
    PROXY_REMOTE = 2
    BOTH = 3


class Level(IntEnum):
    """Which protocol a stack option is about (§ Stack options)."""

    IP = 1
    IPV4 = 2
    IPV6 = 3
    TCP = 4
    UDP = 5


class Availability(IntEnum):
    """No or yes, as several stack options write it."""

    NO = 0x01
    YES = 0x02


class Parity(IntEnum):
    """Port parity (§ Port Parity options)."""

    ANY = 0x00
    EVEN = 0x01
    ODD = 0x02
