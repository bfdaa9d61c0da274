"""The command line."""

import re

import pytest

from socks6.cli.completion import SCRIPTS
from socks6.cli.parser import COMMANDS, DESCRIPTION, EXAMPLES, SHELLS, build_parser, parse
from socks6.config.server import ServerConfig
from socks6.setting import settings_of


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([command, "--help"])
    assert not ended.value.code
    assert COMMANDS[command].description in capsys.readouterr().out


@pytest.mark.parametrize(
    "example",
    [
        line.strip()
        for texts in [EXAMPLES, *(one.examples for one in COMMANDS.values())]
        for line in texts.splitlines()
    ],
)
def test_examples_are_command_lines_that_there_are(example: str) -> None:
    for words in re.findall(
        r"socks6 (?:server|client|ping|trace|connect|bind|check|passwd)\b[^&|>'()]*", example
    ):
        spoken = re.split(r"  +", words)[0].split()[1:]
        parse([word.replace("%p", "22") for word in spoken])


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 2
    assert DESCRIPTION in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"), [([], DESCRIPTION), (["share"], COMMANDS["share"].description)]
)
def test_help_is_a_command_too(command: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["help", *command])
    assert not ended.value.code
    assert words in capsys.readouterr().out


def test_every_shell_has_a_script() -> None:
    assert tuple(SCRIPTS) == SHELLS


def test_flags_are_written_out() -> None:
    with pytest.raises(SystemExit):
        parse(["server", "--liste", "socks6://"])


def test_a_listener_may_be_named_again_and_again() -> None:
    assert parse(["client", "--listen", "a", "--listen", "b"]).listen == ["a", "b"]


def test_the_help_of_flags_is_short() -> None:
    assert all(len(line) < 120 for line in build_parser("").format_help().splitlines())


@pytest.mark.parametrize("command", ["server", "client"])
def test_help_has_the_common_flags_and_help_all_every_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as ended:
            parse([command, flag])
        assert not ended.value.code
        texts.append(capsys.readouterr().out)
    short, long = texts
    settings = [declared for declared in settings_of(ServerConfig) if declared.flag]
    shown = [re.findall(r"^  (?:-v, )?(--[\w-]+)", text, re.MULTILINE) for text in texts]
    shown = [[one.flag for one in settings if one.flag in flags] for flags in shown]
    assert shown == [[one.flag for one in settings if one.facts.common], [one.flag for one in settings]]
    assert len(short.splitlines()) < 100 < len(long.splitlines())
    assert "--help-all" in short
