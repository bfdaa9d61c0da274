"""socks6 completion: the scripts with which shells complete our command lines, and what they ask.

A script runs `socks6 _complete WORD...` at each TAB, with the words up to the cursor, and offers the lines that
it prints, which are made from the parser. So a script is short, knows no flag, and never gets old.
"""

import argparse
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from socks6.cli.parser import COMMANDS, build_parser

FILES: Final = ":files"  # stands for the names of files
OURS: Final = ("socks6://", "socks6+tls://", "socks6+quic://", "socks6+unix:///")
PROXY_SCHEMES: Final = (*OURS, "socks6+auto://")
LISTENER_SCHEMES: Final = ("mixed://", "socks5://", "http://", *OURS)
MAX_MEANING_CHARACTERS: Final = 70

SCRIPTS: Final = {
    "bash": r"""# socks6 in bash: source <(socks6 completion bash)
_socks6() {
    local line word=${COMP_LINE:0:COMP_POINT} words
    read -ra words <<<"$word"
    [[ $word == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            compopt -o filenames
        else
            line=${line%%$'\t'*}
            [[ $line == */ ]] && compopt -o nospace
            COMPREPLY+=("${line#"${word%"${word##*[:=]}"}"}") # bash takes : and = for ends of words
        fi
    done < <(command "${words[0]}" _complete "${words[@]:1}" 2>/dev/null)
}
complete -F _socks6 socks6
""",
    "zsh": r"""#compdef socks6
# socks6 in zsh: source <(socks6 completion zsh), after compinit; or as a file _socks6 in a folder of $fpath
_socks6() {
    local line
    local -a items
    for line in "${(@f)$(command $words[1] _complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
        elif [[ -n $line ]]; then
            items+=("${${line%%$'\t'*}//:/\\:}${${(M)line:#*$'\t'*}:+:${line#*$'\t'}}")
        fi
    done
    (( $#items )) && _describe -V socks6 items -S '' -r ' '
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _socks6 "$@"
else
    compdef _socks6 socks6
fi
""",
    "fish": r"""# socks6 in fish: socks6 completion fish > ~/.config/fish/completions/socks6.fish
function __socks6_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (command $words[1] _complete $words[2..] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c socks6 -f -a '(__socks6_complete)'
""",
}


def run(arguments: Namespace) -> int:
    """Print a shell's script."""
    print(SCRIPTS[arguments.shell], end="")
    return 0


class Candidate(NamedTuple):
    """A word, and what it is for."""

    text: str
    meaning: str = ""


def show(words: Sequence[str]) -> int:
    """Print the candidates, one a line, each with a TAB and its meaning."""
    for candidate in candidates(words):
        print("\t".join(filter(None, candidate)))
    return 0


def candidates(words: Sequence[str]) -> list[Candidate]:
    """Return what may stand in the place of the last of the words."""
    *before, current = words or [""]
    command = next((word for word in before if word in COMMANDS), "")
    parser: argparse.ArgumentParser = build_parser("")
    if command:
        before = before[before.index(command) + 1 :]
        COMMANDS[command].add_flags(parser := argparse.ArgumentParser())
    found = _next(_actions(parser), before, flags_only=current.startswith("-"))
    return [one for one in found if one.text.startswith(current) or one.text == FILES]


def _next(actions: list[argparse.Action], before: list[str], *, flags_only: bool) -> Iterator[Candidate]:
    """Return what may follow the words of one command."""
    flags = {name: action for action in actions for name in action.option_strings}
    if before and _takes_value(flags.get(before[-1])):
        yield from _values(flags[before[-1]])
        return
    positionals = [action for action in actions if not action.option_strings]
    given = _count_positionals(before, flags)
    if given < len(positionals) and not flags_only:
        yield from _values(positionals[given])
    else:
        for name, action in flags.items():
            if name.startswith("--"):
                yield Candidate(name, _meaning(name, action))


def _values(action: argparse.Action) -> Iterator[Candidate]:
    """Return what may be the value of a flag, or a positional argument."""
    if action.dest == "command":
        yield from (Candidate(name, command.summary) for name, command in COMMANDS.items())
    elif action.choices is not None:
        yield from (Candidate(str(choice)) for choice in action.choices)
    elif action.metavar == "FILE":
        yield Candidate(FILES)
    elif action.metavar == "URL":
        schemes = LISTENER_SCHEMES if action.dest == "listen" else PROXY_SCHEMES
        yield from map(Candidate, schemes)


def _count_positionals(words: list[str], flags: dict[str, argparse.Action]) -> int:
    """Return how many of the words are neither flags nor their values."""
    pairs = zip(["", *words], words, strict=False)
    return sum(not word.startswith("-") and not _takes_value(flags.get(before)) for before, word in pairs)


def _takes_value(action: argparse.Action | None) -> bool:
    return action is not None and action.nargs != 0


def _meaning(name: str, action: argparse.Action) -> str:
    """Return the first clause of a flag's help."""
    if name.startswith("--no-"):
        return f"the opposite of {action.option_strings[0]}"
    clause = re.split(r"[;(:]", action.help or "", maxsplit=1)[0].strip()
    return clause if len(clause) <= MAX_MEANING_CHARACTERS else clause[: MAX_MEANING_CHARACTERS - 1] + "…"


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    # argparse has no public list of them; argcomplete and shtab read it here, too
    return [action for action in parser._actions if action.help is not argparse.SUPPRESS]  # noqa: SLF001
