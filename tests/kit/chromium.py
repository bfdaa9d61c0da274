"""Chromium without a window, driven by its DevTools protocol."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from websockets.sync.client import ClientConnection, connect

FLAGS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-default-browser-check"),
    *(
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-extensions",
    ),
    *("--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-port=0"),
)
START_SECONDS: Final = 30.0
PATIENCE: Final = 10.0

needs_chromium: Final = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed"
)


class Page:
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0
        self.complaints: list[str] = []  # of the console, and violations of the page's policy
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Mapping[str, Any]:
        """Call a method of the protocol; return its result."""
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(PATIENCE))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                result: Mapping[str, Any] = message["result"]
                return result
            self._note(message)

    def run(self, script: str) -> Any:
        """Return the value of an expression, a promise's when it is fulfilled."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Return the value of an expression that is true soon."""
        ends = time.monotonic() + PATIENCE
        while not (value := self.run(script)):
            assert time.monotonic() < ends, f"not in time: {script}: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.until(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def press(self, *keys: str) -> None:
        """Press keys, by their names: "Tab", "Enter", "a"."""
        for key in keys:
            text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
            codes = {"Tab": 9, "Enter": 13, "Escape": 27}
            code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **text, **code)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, **code)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Have another window, and prefer light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def photograph(self, path: Path) -> None:
        """Write what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _note(self, message: Mapping[str, Any]) -> None:
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.complaints.append(details.get("exception", details).get("description", str(details)))
            case "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
            case _:
                pass


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """Run a browser with one empty page."""
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        environment = {**os.environ, "HOME": profile}
        with subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        ) as process:
            try:
                port = _port_in(Path(profile) / "DevToolsActivePort")
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                    (target,) = [one for one in json.load(answer) if one["type"] == "page"]
                with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
                    yield Page(connection)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)


def _port_in(file: Path) -> int:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")
