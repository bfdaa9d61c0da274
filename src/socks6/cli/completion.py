"""socks6 completion: the scripts that have a shell complete our command lines.

A script runs `socks6 _complete WORD...` at each TAB, with the words up to the cursor, and offers the lines that
it prints (`socks6.cli.candidates`). So a script is short, knows no flag, and never gets old.
"""

from argparse import Namespace
from typing import Final

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
