"""Completion in shells: a small script for each, which asks `nlcore completion` what may come next."""

from __future__ import annotations

from collections.abc import Sequence

from nlcore.cli.candidates import Candidate

__all__ = ["SHELLS", "answer", "script"]

_FILES = ":files"

_BASH = """# Completes nlcore in bash: eval "$(nlcore completion bash)"
_nlcore() {
  local IFS=$'\\n' found
  COMPREPLY=()
  found=$(nlcore completion bash --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return 0
  case "$found" in
    :files) compopt -o default 2>/dev/null || : ;;
    *=) compopt -o nospace 2>/dev/null || : ; COMPREPLY=($found) ;;
    *) COMPREPLY=($found) ;;
  esac
}
complete -F _nlcore nlcore"""

_ZSH = """#compdef nlcore
# Completes nlcore in zsh: eval "$(nlcore completion zsh)"
_nlcore() {
  local -a found
  found=("${(@f)$(nlcore completion zsh --words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  case "$found[1]" in
    :files) _files ;;
    *=:*) _describe nlcore found -S '' ;;
    ?*) _describe nlcore found ;;
  esac
}
compdef _nlcore nlcore"""

_FISH = """# Completes nlcore in fish: nlcore completion fish | source
function __nlcore_candidates
  set -l words (commandline -opc)
  set -l found (nlcore completion fish --words $words[2..] "$(commandline -ct)" 2>/dev/null)
  if test "$found[1]" = :files
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c nlcore -f -a '(__nlcore_candidates)'"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
SHELLS = tuple(_SCRIPTS)


def script(shell: str) -> str:
    """Return what a shell reads once.

    Args:
        shell: One of `SHELLS`.
    """
    return _SCRIPTS[shell]


def answer(shell: str, found: Sequence[Candidate] | None) -> str:
    """Return candidates as the script of a shell takes them, one a line.

    Args:
        shell: One of `SHELLS`.
        found: Words with a line about each; `None` for the names of files.
    """
    if found is None:
        return _FILES
    found = [(word, " ".join(text.split())) for word, text in found]
    if shell == "bash":
        return "\n".join(word for word, _ in found)
    if shell == "zsh":
        return "\n".join(word.replace(":", "\\:") + f":{text}" for word, text in found)
    return "\n".join(f"{word}\t{text}" for word, text in found)
