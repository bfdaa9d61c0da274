"""What came of an act, and what should have."""

import dataclasses

from socks6.cli.demo.acts import Act
from socks6.cli.demo.curl import Fetched
from socks6.cli.demo.performance import Performance, differences, picture, story
from socks6.cli.demo.recording import Piece
from socks6.cli.demo.site import PAGE, Visit
from socks6.cli.demo.telling import HTTP, SOCKS5
from socks6.telemetry import ConnectionSummary, Ending

NEAR = ConnectionSummary(
    id=1,
    inbound="mixed",
    source="127.0.0.1",
    user="",
    command="CONNECT",
    host="127.0.0.1",
    port=80,
    ending=Ending.DONE,
    reply=0,
    reason="",
    seconds=0.01,
    bytes_up=79,
    bytes_down=186,
)
GOOD = Performance(
    act=Act(title="it works", arguments=(), script=SOCKS5),
    command=("curl", "http://127.0.0.1/a b"),
    fetched=Fetched(exit_code=0, status=200, seconds=0.01, body=PAGE, complaint=""),
    near=NEAR,
    far=dataclasses.replace(NEAR, inbound="socks6", user="demo"),
    visit=Visit(
        accepted=1.002,
        asked=1.003,
        answered=1.004,
        client="127.0.0.1:5000",
        line="GET / HTTP/1.1",
        head_size=79,
        answer_size=186,
    ),
    near_pieces=[Piece(time=1.0, received=True, data=bytes((5, 1, 0)))],
    far_pieces=[Piece(time=1.001, received=True, data=bytes.fromhex("06 00 0000 0000 00 01 00000000"))],
)
REFUSED = dataclasses.replace(
    GOOD,
    act=Act(title="refused", arguments=(), wanted=lambda: b"", refused=True),
    fetched=Fetched(exit_code=97, status=0, seconds=0.01, body=b"", complaint="curl: (97) no"),
    near=dataclasses.replace(NEAR, ending=Ending.FAILED, reply=1, reason="upstream: no"),
    far=dataclasses.replace(NEAR, command="", ending=Ending.UNAUTHENTICATED, reason="wrong credentials"),
    visit=None,
)


def test_all_as_it_should_be() -> None:
    assert list(differences(GOOD)) == []
    assert list(differences(REFUSED)) == []


def test_a_page_that_is_another_one() -> None:
    fetched = dataclasses.replace(GOOD.fetched, body=PAGE[:-1] + b"!")
    (difference,) = differences(dataclasses.replace(GOOD, fetched=fetched))
    assert difference.startswith("the body's SHA-256 is ")


def test_a_refusal_where_there_should_be_none() -> None:
    found = list(differences(dataclasses.replace(REFUSED, act=GOOD.act)))
    assert "curl's exit code is 97, not 0" in found
    assert "the user is , not demo" in found
    assert "the server's ending is Ending.UNAUTHENTICATED, not Ending.DONE" in found


def test_bytes_that_were_lost() -> None:
    far = dataclasses.replace(GOOD.far, bytes_down=185)
    assert list(differences(dataclasses.replace(GOOD, far=far))) == ["the server relayed 185 of 186 bytes"]


def test_a_story() -> None:
    assert list(story(GOOD)) == [
        "$ curl 'http://127.0.0.1/a b'",
        f"curl       HTTP 200, {len(PAGE)} bytes in 10.0 ms",
        "converter  mixed: CONNECT 127.0.0.1:80, 79 bytes up, 186 down",
        "server     socks6, user demo: CONNECT 127.0.0.1:80, 79 bytes up, 186 down",
        "web site   GET / HTTP/1.1, from 127.0.0.1:5000",
    ]


def test_a_story_of_a_refusal() -> None:
    assert list(story(REFUSED))[1:] == [
        "curl: (97) no",
        "curl       exit code 97, 0 bytes in 10.0 ms",
        "converter  mixed: CONNECT 127.0.0.1:80: upstream: no",
        "server     mixed: unauthenticated, wrong credentials",
        "web site   nobody came",
    ]


def test_much_has_a_speed() -> None:
    far = dataclasses.replace(GOOD.far, bytes_down=10 << 20)
    assert list(story(dataclasses.replace(GOOD, far=far)))[1].endswith(", 1000 MiB/s")


def test_a_picture_is_in_the_order_of_time() -> None:
    lines = picture(GOOD)
    labels = [line.split()[0] for line in lines if line[:1].isdigit()]
    assert labels == ["0.0", "1.0", "2.0", "3.0", "4.0", "10.0", "11.0"]
    assert lines[0].split() == ["ms", "curl", "converter", "server", "web", "site"]
    assert sum("<=" in line for line in lines) == 2


def test_what_http_forwards_is_not_told_twice() -> None:
    performance = dataclasses.replace(GOOD, act=dataclasses.replace(GOOD.act, script=HTTP))
    assert sum("<=" in line for line in picture(performance)) == 1


def test_no_picture_where_none_is_wanted() -> None:
    assert picture(dataclasses.replace(GOOD, act=REFUSED.act)) == []
    assert picture(REFUSED) == []
