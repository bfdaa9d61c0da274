"""What README and the guides show is run as it stands, on machines that have the names which documents use.

A block is run by its language: `sh` and `console` are typed, `python` is a program or the inside of an async function, `toml` goes
to `socks6 check` (tests/unit/cli/test_guide.py), `text` is not for running.
"""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.kit.documented_world import World, documented_world
from tests.kit.documents import ROOT, Block, blocks
from tests.kit.netns import needs_namespaces
from tests.kit.origins import PAGE
from tests.kit.proxies import ENVIRONMENT

pytestmark = [pytest.mark.e2e, needs_namespaces]

README: Final = "README.md"
ELSEWHERE: Final = {  # documents whose commands other tests run, or which show how the repository itself is worked on
    "docs/guide/deployment.md": "tests/e2e/test_packages.py",
    "docs/guide/round-trips.md": "make",
    "CONTRIBUTING.md": "make",
    "changes.d/README.md": "make",
    "ARCHITECTURE.md": "make",
}
SHOWN: Final = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "changes.d/README.md")
DOCUMENTS: Final = (
    *SHOWN,
    *sorted(
        str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*/*.md") if path.parent.name != "decisions"
    ),
)
NOT_HERE: Final = re.compile(
    r"python3 -m venv|^export PATH=|completion zsh|^socks6 --version"
)  # environments: below
# Where a document goes on from what a reader has: a server with these users, and files with these names.
SERVER: Final = (
    "socks6 server --listen mixed://:1080 --listen socks6+tls://:8389 --bind-ports 8000-8999 --open"
    " --fast-open 100 --allow-private"
)
DRAFT: Final = """listen = [
    "socks6://127.0.0.1:1080",
    "socks6://0.0.0.0:1080",
]
open = false

[timeouts]
fin = 5
idel = 5
"""
WRONG: Final = {"socks6 check draft.toml": 2}
PROXY: Final = "socks6://proxy.example"
PREPARED: Final = (
    f"echo {PROXY} | tee alice.url next.url proxy.url .ssh/proxy-url",
    "socks6 passwd alice --file users && cp users users.txt",
    "printf '[users]\\nfile = \"users\"\\n' >socks6.toml",
    f"echo {shlex.quote(DRAFT)} >draft.toml",
)
STARTS_ITSELF: Final = ("README.md", "docs/tutorial/first-server.md", "docs/guide/internet.md")
PRELUDE: Final = """
import asyncio
from socks6 import *
request = b"GET / HTTP/1.0\\r\\nHost: example.com\\r\\n\\r\\n"
class MyProtocol(asyncio.DatagramProtocol):
    pass
"""


def try_commands(world: World, block: Block) -> None:
    """Run the commands of a block, and look at what comes of them."""
    for prompt, line in block.commands:
        if NOT_HERE.search(line):
            continue
        if line.startswith("cat "):
            world.folder.joinpath(line.split()[1]).write_text("\n".join(block.output_of(line)) + "\n")
            continue
        said = world.run(line, {"server$": "far", "laptop$": "laptop"}.get(prompt, ""))
        if line.startswith("ssh "):  # the host only greets
            assert said.code == 255
            assert world.greetings.pop().startswith(b"SSH-2.0-OpenSSH"), said
            continue
        assert said.code == WRONG.get(line, 0), (block.document, line, said)
        assert "Traceback" not in said.text
        if "curl" in line:
            assert PAGE.decode() in said.text, (line, said)
        forwarded = re.search(r"(?:listening on|published at) (\S+)$", said.text, re.MULTILINE)
        if forwarded and re.match("socks6 (forward|bind) ", line) and "--udp" not in line:
            scheme = "https" if line.endswith(":443") else "http"
            again = world.run(f"curl --silent --show-error --insecure {scheme}://{forwarded[1]}/")
            assert PAGE.decode() in again.text, (line, again)
        if shown := block.output_of(line):
            words = [
                r"\S+" if re.search(r"[\d/]|\.\.\.", word) else re.escape(word) for word in shown[0].split()
            ]
            assert re.search(r"\s+".join(words), said.text, re.MULTILINE), (shown, said)


def try_python(world: World, block: Block) -> str:
    """Run the Python of a block; return what it printed."""
    code = block.text
    if "asyncio.run" not in code:
        inner = code.replace("\n", "\n        ")
        code = f'{PRELUDE}\nasync def main():\n    async with Client("{PROXY}") as client:\n        {inner}\nasyncio.run(main())\n'
    world.folder.joinpath("program.py").write_text(code)
    said = world.run("timeout 20 python3 program.py", "laptop")
    assert said.code == 0, said
    return said.text


def try_block(world: World, block: Block) -> None:
    match block.language:
        case "sh" | "console":
            try_commands(world, block)
        case "toml":
            world.folder.joinpath("socks6.toml").write_text(block.text)
        case "python":
            said = try_python(world, block)
            assert "asyncio.run" not in block.text or PAGE.decode() in said
        case _:
            assert block.language == "text"


def prepare(world: World) -> None:
    """Make what a reader has who goes on from the first tutorial."""
    world.at_laptop["SOCKS6_PROXY"] = PROXY
    for folder in (".ssh", ".config/fish/completions"):
        world.folder.joinpath(folder).mkdir(parents=True)
    for line in PREPARED:
        assert world.run(line, "far").code == 0, line


@pytest.mark.parametrize(
    "document",
    [
        document if document == README else pytest.param(document, marks=pytest.mark.deep)
        for document in DOCUMENTS
        if document not in ELSEWHERE and any(block.runs for block in blocks(document))
    ],
)
def test_what_a_document_shows_does_what_it_should(document: str, tmp_path: Path) -> None:
    prepared = document not in STARTS_ITSELF
    with documented_world(tmp_path, certified=prepared) as world:
        if prepared:
            prepare(world)
        for block in blocks(document):
            if prepared:
                assert world.run(SERVER, "far").code == 0
            try_block(world, block)


@pytest.mark.deep
def test_readme_from_nothing(tmp_path: Path) -> None:
    """What README says is installed as it says, and then does what it says; nothing else is there."""
    source, home = tmp_path / "clone", tmp_path / "home"
    for folder in (source, home):
        folder.mkdir()
    copy = f"git ls-files -z | tar -c --null -T - | tar -x -C {shlex.quote(str(source))}"
    subprocess.run(["bash", "-c", copy], cwd=ROOT, check=True)
    (install,) = (block for block in blocks(README, "Install") if block.language == "sh")
    environment = {**ENVIRONMENT, "HOME": str(home)}
    subprocess.run(
        ["bash", "-ec", install.text], cwd=source, env=environment, check=True, stdin=subprocess.DEVNULL
    )
    with documented_world(tmp_path, binaries=home / "socks6/bin") as world:
        assert str(home) in world.run("command -v socks6", "laptop").text
        for block in blocks(README):
            try_block(world, block)
