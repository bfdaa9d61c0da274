"""The drawings of the documents, as SVG: the converter at work, and the messages of each kind of conversation.

`make docs` writes them. A conversation is a table of messages; what is drawn follows from it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

INK: Final = "#1f2933"
PALE: Final = "#64748b"
OURS: Final = "#3f51b5"  # what speaks SOCKS 6
FILL: Final = "#eef0fb"
OTHERS: Final = "#f1f5f9"
FONT: Final = "font-family='DejaVu Sans, Verdana, sans-serif'"

COLUMN_WIDTH: Final = 330
MARGIN: Final = 90
ROW: Final = 46
SLOPE: Final = 16  # how far a message sinks on its way, for time goes down
HEAD: Final = 64


class Message(NamedTuple):
    """An arrow from one column to another; with `note`, words below it."""

    source: int
    target: int
    text: str
    note: str = ""
    ours: bool = True


class Conversation(NamedTuple):
    """The columns of a drawing, and the messages in their order."""

    title: str
    columns: tuple[str, ...]
    messages: tuple[Message, ...]


SOCKS5: Final = Conversation(
    "SOCKS 5 with a password: the request leaves after four round trips",
    ("client", "proxy"),
    (
        Message(0, 1, "SYN", ours=False),
        Message(1, 0, "SYN-ACK", ours=False),
        Message(0, 1, "methods: none, password", ours=False),
        Message(1, 0, "method: password", ours=False),
        Message(0, 1, "user name and password", ours=False),
        Message(1, 0, "accepted", ours=False),
        Message(0, 1, "CONNECT example.com:80", ours=False),
        Message(1, 0, "succeeded", ours=False),
        Message(0, 1, "GET / HTTP/1.1 …", ours=False),
        Message(1, 0, "HTTP/1.1 200 OK …", ours=False),
    ),
)
SOCKS6: Final = Conversation(
    "SOCKS 6 with a password: the request leaves with the first packet after the SYN",
    ("client", "proxy", "example.com"),
    (
        Message(0, 1, "SYN"),
        Message(1, 0, "SYN-ACK"),
        Message(0, 1, "request: CONNECT example.com:80", "user name and password · GET / HTTP/1.1 …"),
        Message(1, 2, "connects", ours=False),
        Message(1, 0, "authentication reply · operation reply"),
        Message(1, 2, "GET / HTTP/1.1 …", ours=False),
        Message(2, 1, "HTTP/1.1 200 OK …", ours=False),
        Message(1, 0, "HTTP/1.1 200 OK …"),
    ),
)
SESSION: Final = Conversation(
    "A session, a token and TCP Fast Open: everything is in the SYN",
    ("client", "proxy", "example.com"),
    (
        Message(0, 1, "first connection: password, “open a session”"),
        Message(1, 0, "session id · a window of tokens"),
        Message(
            0, 1, "SYN with the request: session id, token 7", "CONNECT example.com:80 · GET / HTTP/1.1 …"
        ),
        Message(1, 2, "SYN with GET / HTTP/1.1 … (if asked for)", ours=False),
        Message(2, 1, "HTTP/1.1 200 OK …", ours=False),
        Message(1, 0, "token accepted · succeeded · HTTP/1.1 200 OK …"),
        Message(0, 1, "the same SYN once more, by the network or a thief"),
        Message(1, 0, "token rejected: it is not carried out again"),
    ),
)
UDP: Final = Conversation(
    "UDP: an association lives as long as its connection",
    ("client", "proxy", "any hosts"),
    (
        Message(0, 1, "request: UDP ASSOCIATE"),
        Message(1, 0, "association id, port at the proxy"),
        Message(0, 1, "first datagram: the id (over UDP, DTLS or QUIC)"),
        Message(1, 0, "confirmed, on the connection"),
        Message(0, 1, "id · to 192.0.2.53:53 · data"),
        Message(1, 2, "data", ours=False),
        Message(2, 1, "answer, or an ICMP error", ours=False),
        Message(1, 0, "id · from 192.0.2.53:53 · answer"),
    ),
)
BIND: Final = Conversation(
    "BIND with a backlog: one port of the proxy, one peer after another",
    ("client", "proxy", "peers"),
    (
        Message(0, 1, "request: BIND, backlog 64, in a session"),
        Message(1, 0, "listening at 192.0.2.1:8080"),
        Message(2, 1, "a peer connects, and waits", ours=False),
        Message(0, 1, "a further connection: the next peer, please"),
        Message(1, 0, "the peer's address · its bytes"),
        Message(2, 1, "another peer connects", ours=False),
    ),
)


def sequence(conversation: Conversation) -> str:
    """Return the drawing of a conversation."""
    width = 2 * MARGIN + (len(conversation.columns) - 1) * COLUMN_WIDTH
    height = HEAD + 40 + sum(ROW + (16 if message.note else 0) for message in conversation.messages)
    lines = [
        *_opening(width, height, conversation.title),
        _text(width / 2, 22, conversation.title, size=13, weight="bold"),
    ]
    for index, name in enumerate(conversation.columns):
        x = MARGIN + index * COLUMN_WIDTH
        lines += [
            f"<line x1='{x}' y1='{HEAD}' x2='{x}' y2='{height - 12}' stroke='{PALE}' stroke-width='1.5'/>",
            _box(x - 62, 34, 124, 28, ours=index < 2),
            _text(x, 53, name, size=13),
        ]
    y = HEAD + 26
    for message in conversation.messages:
        lines += _arrow(message, y)
        y += ROW + (16 if message.note else 0)
    return "\n".join([*lines, "</svg>", ""])


def converter() -> str:
    """Return the drawing of the converter between programs and a server."""
    width, height = 900, 330
    lines = [
        *_opening(width, height, "The converter between ordinary programs and a SOCKS 6 server"),
        _zone(10, 40, 480, 280, "this machine"),
        _zone(600, 40, 130, 280, "far machine"),
        _zone(760, 40, 130, 280, "the network there"),
    ]
    programs = (
        ("browser, curl", "SOCKS 5"),
        ("apt, pip, git", "HTTP"),
        ("older programs", "SOCKS 4, 4a"),
        ("games, calls", "SOCKS 5 UDP"),
        ("Python program", "SOCKS 6"),
    )
    for index, (name, protocol) in enumerate(programs):
        y = 70 + index * 50
        last = index == len(programs) - 1
        lines += [
            _box(26, y, 128, 34, ours=last),
            _text(90, y + 21, name, size=12),
        ]
        if last:
            lines += [
                f"<path d='M154 {y + 17} H 604' stroke='{OURS}' stroke-width='2' fill='none' marker-end='url(#ours)'/>",
                _text(330, y + 11, "the library needs no converter", size=11, colour=PALE),
            ]
        else:
            lines += [
                f"<path d='M154 {y + 17} L 334 {y + 17}' stroke='{PALE}' stroke-width='1.6' fill='none' marker-end='url(#others)'/>",
                _text(244, y + 11, protocol, size=11, colour=PALE),
            ]
    lines += [
        _box(338, 66, 136, 192, ours=True),
        _text(406, 140, "socks6 client", size=14, weight="bold"),
        _text(406, 160, "the converter", size=12),
        _text(406, 180, "127.0.0.1:1080", size=11, colour=PALE),
        f"<path d='M474 140 H 604' stroke='{OURS}' stroke-width='3' fill='none' marker-end='url(#ours)'/>",
        _text(546, 116, "SOCKS 6", size=13, weight="bold", colour=OURS),
        _text(546, 131, "over TLS or QUIC", size=11, colour=OURS),
        _text(546, 160, "password, request,", size=10, colour=PALE),
        _text(546, 173, "first data:", size=10, colour=PALE),
        _text(546, 186, "one packet", size=10, colour=PALE),
        _box(608, 66, 114, 240, ours=True),
        _text(665, 160, "socks6 server", size=13, weight="bold"),
        _text(665, 180, "users, rules", size=11, colour=PALE),
        _text(665, 196, "looks names up", size=11, colour=PALE),
    ]
    for y, name in ((90, "web sites"), (165, "name servers"), (240, "inside hosts")):
        lines += [
            f"<path d='M722 {y + 20} H 768' stroke='{PALE}' stroke-width='1.6' fill='none' marker-end='url(#others)'/>",
            _box(772, y, 106, 40, ours=False),
            _text(825, y + 24, name, size=12),
        ]
    return "\n".join(
        [
            *lines,
            _text(
                width / 2,
                24,
                "Programs speak what they know; the long way is SOCKS 6",
                size=14,
                weight="bold",
            ),
            "</svg>",
            "",
        ]
    )


def _opening(width: float, height: float, title: str) -> Sequence[str]:
    markers = [
        f"<marker id='{name}' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='9' markerHeight='9'"
        f" markerUnits='userSpaceOnUse' orient='auto'><path d='M0 0 L10 5 L0 10 z' fill='{colour}'/></marker>"
        for name, colour in (("ours", OURS), ("others", PALE))
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<defs>{''.join(markers)}</defs>",
        f"<rect width='{width}' height='{height}' rx='8' fill='#ffffff'/>",
    )


def _arrow(message: Message, y: float) -> Iterable[str]:
    start, end = (MARGIN + column * COLUMN_WIDTH for column in (message.source, message.target))
    colour, marker = (OURS, "ours") if message.ours else (PALE, "others")
    gap = 2 if end > start else -2
    yield (
        f"<line x1='{start}' y1='{y}' x2='{end - gap}' y2='{y + SLOPE}' stroke='{colour}' stroke-width='2'"
        f" marker-end='url(#{marker})'/>"
    )
    yield _text((start + end) / 2, y - 1, message.text, size=12)
    if message.note:
        yield _text((start + end) / 2, y + SLOPE + 14, message.note, size=11, colour=PALE)


def _box(x: float, y: float, width: float, height: float, *, ours: bool) -> str:
    fill, line = (FILL, OURS) if ours else (OTHERS, PALE)
    return f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='6' fill='{fill}' stroke='{line}' stroke-width='1.5'/>"


def _zone(x: float, y: float, width: float, height: float, name: str) -> str:
    dashes = f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='8' fill='none' stroke='{PALE}' stroke-dasharray='5 4'/>"
    return dashes + _text(x + width / 2, y + 16, name, size=11, colour=PALE)


def _text(x: float, y: float, text: str, *, size: int, weight: str = "normal", colour: str = INK) -> str:
    return f"<text x='{x:g}' y='{y:g}' text-anchor='middle' font-size='{size}' font-weight='{weight}' fill='{colour}' {FONT}>{escape(text)}</text>"


CONVERSATIONS: Final = {"socks5": SOCKS5, "socks6": SOCKS6, "session": SESSION, "udp": UDP, "bind": BIND}


STATE_WIDTH: Final = 240
STEP_HEIGHT: Final = 19
STEP_WIDTH: Final = 300  # room for the words of a step
LANE: Final = 17
GAP: Final = 16
LANE_COLOURS: Final = ("#3f51b5", "#00796b", "#ad1457", "#e65100", "#5d4037", "#0277bd", "#558b2f", "#6a1b9a")


class Step(NamedTuple):
    """What leads from one state to another, by their places in the list of states."""

    source: int
    target: int
    text: str


def state_diagram(title: str, states: Sequence[str], steps: Sequence[Step]) -> str:
    """Return the drawing of a machine: its states from the top down, and a lane for each that a step leads to.

    A step goes from its state, under its words, to the lane of the next state, and with the lane to that state.
    """
    rows = [1 + sum(step.source == index for step in steps) for index in range(len(states))]
    tops = [50 + sum(row * STEP_HEIGHT + GAP for row in rows[:index]) for index in range(len(states))]
    entered = sorted({step.target for step in steps})
    edge = 20 + STATE_WIDTH
    lanes = {target: edge + STEP_WIDTH + LANE * place for place, target in enumerate(entered)}
    colours = {target: LANE_COLOURS[place % len(LANE_COLOURS)] for place, target in enumerate(entered)}
    width, height = edge + STEP_WIDTH + LANE * len(entered) + 10, tops[-1] + rows[-1] * STEP_HEIGHT + GAP
    lines = [*_opening(width, height, title), _text(width / 2, 26, title, size=14, weight="bold")]
    heights = {target: [tops[target] + STEP_HEIGHT / 2] for target in entered}
    for index, name in enumerate(states):
        lines += [
            _box(20, tops[index], STATE_WIDTH, rows[index] * STEP_HEIGHT, ours=True),
            _text(20 + STATE_WIDTH / 2, tops[index] + rows[index] * STEP_HEIGHT / 2 + 4, name, size=12),
        ]
        for row, step in enumerate((step for step in steps if step.source == index), 1):
            y, x, colour = tops[index] + STEP_HEIGHT * (row + 0.5), lanes[step.target], colours[step.target]
            heights[step.target].append(y)
            lines += [
                f"<path d='M{edge} {y} H{x}' stroke='{colour}' fill='none'/><circle cx='{x}' cy='{y}' r='3' fill='{colour}'/>",
                f"<text x='{edge + 8}' y='{y - 3}' font-size='11' fill='{INK}' {FONT}>{escape(step.text)}</text>",
            ]
    for target, ys in heights.items():
        x, colour, y = lanes[target], colours[target], ys[0]
        lines += [
            f"<path d='M{x} {min(ys)} V{max(ys)}' stroke='{colour}' stroke-width='2'/>",
            f"<path d='M{x} {y} H{edge + 9}' stroke='{colour}' stroke-width='2' fill='none'/>",
            f"<path d='M{edge + 10} {y - 4} L{edge} {y} L{edge + 10} {y + 4} z' fill='{colour}'/>",
        ]
    return "\n".join([*lines, "</svg>", ""])
