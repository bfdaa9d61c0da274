"""The files of the dashboard, and what their policy lets them do."""

import re
from pathlib import Path
from typing import Final

import httpx
from starlette.applications import Starlette

from socks6.admin import dashboard
from socks6.admin.app import Guard
from socks6.admin.dashboard import FILES, POLICY, dashboard_routes
from tests.kit.loops import Run

STATIC: Final = Path(dashboard.__file__).with_name("static")
PAGE: Final = (STATIC / "index.html").read_text()
SCRIPT: Final = (STATIC / "dashboard.js").read_text()


def test_each_file_is_given_to_whoever_asks_with_a_strict_policy(run: Run) -> None:
    async def scene() -> None:
        guard = Guard(Starlette(routes=dashboard_routes()), token="x" * 20)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(guard), base_url="http://localhost"
        ) as client:
            for path, (name, kind) in FILES.items():
                answer = await client.get(path)
                assert (answer.status_code, answer.content) == (200, (STATIC / name).read_bytes())
                assert answer.headers["content-type"].startswith(kind)
                assert answer.headers["content-security-policy"] == POLICY
                assert answer.headers["x-content-type-options"] == "nosniff"
            assert (await client.get("/service.py")).status_code == 404

    run(scene())


def test_all_files_are_served_and_nothing_comes_from_elsewhere() -> None:
    assert {path.name for path in STATIC.iterdir()} == {name for name, _ in FILES.values()}
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", PAGE)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", SCRIPT)


def test_nothing_needs_what_the_policy_forbids() -> None:
    assert "unsafe" not in POLICY
    assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", PAGE)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|document\.write|\.style\b", SCRIPT)


def test_what_the_script_looks_for_is_on_the_page() -> None:
    wanted = set(re.findall(r"\$\(\"([\w-]+)\"\)", SCRIPT)) | set(
        re.findall(r"new Chart\(\"([\w-]+)\"", SCRIPT)
    )
    assert len(wanted) > 20
    assert wanted <= set(re.findall(r"\bid=\"([\w-]+)\"", PAGE))
