"""Words for people that messages of both packages need, and text from elsewhere made safe to show them."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

_UNSAFE = (
    r"\x00-\x1f\x7f-\x9f"  # control characters: ANSI escapes, carriage return, C1's one-byte escapes
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # controls of the writing direction, which re-order a line
    r"\u00ad\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    r"\ud800-\udfff"  # surrogates: bytes of a file name that are not UTF-8; they cannot be printed
)
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINES = re.compile(f"(?!\n)[{_UNSAFE}]")


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: `1 file`, `2 files`.

    Args:
        count: the number.
        noun: the noun in the singular.
        nouns: the noun in the plural, if it is not formed with -s.
    """
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def is_utf8(value: str) -> bool:
    """Return whether UTF-8 can hold a str: whether it has no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_printable(text: str) -> bool:
    """Return whether a text is one line without control, invisible or direction-changing characters."""
    return _UNSAFE_CHARACTER.search(text) is None


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text for a terminal or a log: characters that could act on one are written as escapes, such as `\x1b`.

    Args:
        text: the text, which may quote names of a stranger.
        lines: keep line feeds, for a text that has several lines of its own.
    """
    pattern = _UNSAFE_IN_LINES if lines else _UNSAFE_CHARACTER
    return pattern.sub(lambda match: escaped(match[0]), text)


def escaped(character: str) -> str:
    r"""Return a character as Python's shortest escape: `\n`, `\x1b`, `\u202e`, `\U000e0001`."""
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character)
    code = ord(character)
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def json_text(data: Any, *, indent: int | None = None) -> str:
    """Return data as JSON that reads the same everywhere and cannot act on a terminal: unsafe characters are escaped."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return _UNSAFE_IN_LINES.sub(lambda match: json.dumps(match[0])[1:-1], text)


def shell_command(*words: object) -> str:
    """Return a command that a user can paste into bash or zsh: words are quoted where they need it."""
    return " ".join(map(_shell_word, map(str, words)))


def _shell_word(word: str) -> str:
    if is_printable(word):
        return shlex.quote(word)
    quoted = "".join(_shell_escape(character) for character in word)
    return f"$'{quoted}'"


def _shell_escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if is_printable(character):
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


_MARKDOWN = re.compile(r"[\\`*\[\]<>&|~$]|[^\S ]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_WORD = r"[\w./:=$@%+,(){}\[\]*^~#!?;'\"-]+"
_PLAIN_CODE = re.compile(f"{_WORD}(?: {_WORD})*")


def markdown(text: object) -> str:
    """Return a text for a paragraph, a heading or a table cell of Markdown: every character stands for itself."""
    return _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", printable(str(text)))


def markdown_code(text: object) -> str:
    """Return a name in code style for a paragraph or a table cell of Markdown.

    A code span cannot hold every name: in a table a bar ends the cell, even between backticks. Such a name becomes HTML.
    """
    shown = printable(str(text))
    if _PLAIN_CODE.fullmatch(shown):
        return f"`{shown}`"
    escapes = "".join(character if character.isalnum() else f"&#{ord(character)};" for character in shown)
    return f"<code>{escapes}</code>" if shown else ""
