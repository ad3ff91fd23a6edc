"""What shells complete where click alone would not: ``NAME=VALUE`` in bash.

Bash takes ``=`` for the end of a word: of ``-s init_method=ra`` it asks for what begins with
``ra``, and behind ``init_method=`` it would put a space.
"""

from __future__ import annotations

from click.shell_completion import BashComplete, CompletionItem, add_completion_class

_REPLY = "COMPREPLY+=($value)"
_REPLY_WITHOUT_SPACE = f"""{_REPLY}
            [[ $value == *= ]] && compopt -o nospace 2>/dev/null"""


class _Bash(BashComplete):
    source_template = BashComplete.source_template.replace(_REPLY, _REPLY_WITHOUT_SPACE)
    _is_joined = False

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that, as they were written."""
        args, incomplete = super().get_completion_args()
        *whole, last = _joined([*args, incomplete])
        self._is_joined = last != incomplete or incomplete == "="
        return whole, last

    def format_completion(self, item: CompletionItem) -> str:
        """Return what bash shall put in the place of its word."""
        value = item.value.partition("=")[2] if self._is_joined else item.value
        return f"{item.type},{value}"


def _joined(words: list[str]) -> list[str]:
    """Put together what bash has parted at each ``=``."""
    whole: list[str] = []
    is_open = False
    for word in words:
        if whole and (word == "=" or is_open):
            whole[-1] += word
        else:
            whole.append(word)
        is_open = word == "="
    return whole


def complete_in_bash() -> None:
    """Have click's own completion for bash give way to this one."""
    add_completion_class(_Bash)
