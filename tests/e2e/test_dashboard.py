"""The web dashboard in Chromium: an operator signs in, looks around, and ends a download."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from socks6.proxy.authentication.users_database import UsersDatabase
from tests.kit.chromium import Page, chromium, needs_chromium
from tests.kit.origins import tcp_host
from tests.kit.proxies import Proxy, curl, curl_line, server

TOKEN: Final = "a token that no one guesses".replace(" ", "-")
SECTIONS: Final = ("overview", "connections", "users", "sessions", "penalties", "events")
HOSTILE: Final = "<img src=x onerror=alert(1)>"
FOCUS: Final = "document.activeElement"
NAMELESS: Final = """
[...document.querySelectorAll("main > section:not([hidden]) :is(button, input, select, svg, table, a), header :is(a, button)")]
    .filter((one) => one.checkVisibility())
    .filter((one) => !(one.labels?.[0]?.textContent || one.textContent || one.getAttribute("aria-label") || "").trim())
    .map((one) => one.outerHTML)
"""
"""What a screen reader has no name for."""
UNREADABLE: Final = """
(() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const luminance = (colour) => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((one) => {
            const part = one / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? behind(one.parentElement) : colour;
    };
    return [...document.querySelectorAll("body *")]
        .filter((one) => one.checkVisibility() && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .filter((one) => {
            const style = getComputedStyle(one);
            const [low, high] = [one instanceof SVGElement ? style.fill : style.color, behind(one)].map(luminance).sort();
            return (high + 0.05) / (low + 0.05) < 4.5;
        })
        .map((one) => one.outerHTML);
})()
"""
"""Texts whose contrast is below 4.5 (WCAG AA)."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow, needs_chromium]


@contextmanager
def administered(folder: Path) -> Iterator[tuple[Proxy, str]]:
    """Run a server with a users database and a dashboard; give it, and the dashboard's URL."""
    database = UsersDatabase(folder / "users.db", create=True)
    database.add("alice", {"password": "s3cret"})
    database.close()
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    flags = ["--admin-http", "127.0.0.1:0", "--admin-token-file", str(token), "--users-db", database.path]
    with server("--listen", "mixed://127.0.0.1:0", "-v", *flags) as running:
        yield running, eventually(running, r"admin at (http://\S+)")


def eventually(running: Proxy, pattern: str) -> str:
    """Return the first group of a pattern that the proxy logs soon."""
    for _ in range(200):
        if found := re.search(pattern, "".join(running.said)):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"{pattern}: {running.said}")


def begin_to_send(connection: socket.socket) -> None:
    """Be a download that does not get on."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")
    connection.recv(65536)


def sign_in(page: Page, token: str) -> None:
    """Type a token, as somebody without a mouse does."""
    page.until(f'{FOCUS}.name === "token"')
    page.type(token)
    page.press("Enter")


def go_to(page: Page, section: str) -> None:
    page.run(f'document.querySelector(`nav a[href="#{section}"]`).click()')
    page.until(
        f'!document.getElementById("{section}").hidden && document.activeElement.id === "{section}-heading"'
    )


def test_an_operator_signs_in_looks_around_and_ends_a_download(tmp_path: Path) -> None:
    with (
        administered(tmp_path) as (running, url),
        tcp_host(begin_to_send) as host,
        chromium() as page,
    ):
        page.resize(1280, 800)
        page.open(f"{url}/")
        sign_in(page, "wrong")
        page.until('document.getElementById("fault").textContent.includes("token is wrong")')
        page.complaints.clear()  # of the answer 401
        page.run(f'{FOCUS}.value = ""')
        sign_in(page, TOKEN)
        page.until('document.getElementById("state").textContent.startsWith("running")')
        # at every width, in light and dark, each section can be read
        for width, dark in ((1280, False), (360, True)):
            page.resize(width, 740, dark=dark)
            for section in SECTIONS[1:] + SECTIONS[:1]:
                go_to(page, section)
                assert page.run("document.documentElement.scrollWidth <= innerWidth"), (section, width)
                assert page.run(NAMELESS) == [], section
                assert page.run(UNREADABLE) == [], section
        page.resize(1280, 800)
        # what happens elsewhere appears by itself
        go_to(page, "events")
        curl("--socks5", running.authority, "--proxy-user", f"{HOSTILE}:wrong", "http://127.0.0.1:9/")
        page.until(f'document.getElementById("event-list").textContent.includes({json.dumps(HOSTILE)})')
        assert page.run('document.querySelector("#event-list img")') is None
        go_to(page, "users")
        page.until('!document.getElementById("add-user").hidden')
        page.run('document.getElementById("add-user").click()')
        page.type("bob")
        page.press("Tab")
        page.type("hunter22")
        page.press("Enter")
        page.until('document.getElementById("notice").textContent === "bob is added."')
        page.until('document.getElementById("users-table").textContent.includes("bob")')
        go_to(page, "connections")
        target = f"http://{host.host}:{host.port}/"
        words = curl_line(
            "--socks5", running.authority, "--proxy-user", "bob:hunter22", "--output", "/dev/null", target
        )
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as download:
            text = f"bob\t127.0.0.1\tmixed\tCONNECT\t127.0.0.1:{host.port}\t"
            page.until(
                f'document.querySelector("#connections-table tbody").innerText.includes({json.dumps(text)})'
            )
            page.run('document.querySelector("#connections-table .danger").focus()')
            page.press("Enter")
            page.until(f'document.getElementById("kick").open && {FOCUS}.name === "reason"')
            page.type("testing")
            page.press("Enter")
            page.until('document.getElementById("notice").textContent.endsWith("has ended.")')
            page.until('document.querySelector("#connections-table .empty") !== null')
            assert download.wait(10) == 56  # the connection was reset
        assert "testing" in eventually(running, r"ending=kicked .*?reason=(\"[^\"]*\")")
        # the token is this tab's, and is gone after it was given back
        page.run("window.left = true; location.reload()")
        page.until('!window.left && document.getElementById("nav")?.hidden === false')
        page.run('document.getElementById("leave").click()')
        assert page.run("sessionStorage.length") == 0
        page.until('!document.getElementById("login").hidden')
        assert page.complaints == []
