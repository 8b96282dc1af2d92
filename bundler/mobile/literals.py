"""String literals of Python, JavaScript, Kotlin, Swift and C++: a name of a tensor, whatever it holds, as source code.

Visible letters of any language stay as they are, for readers; everything else is written in the language's own escapes, so that
no name ends its literal, starts an expression in it or hides what the code says. Sources: Python's lexical analysis, 2.5; the
ECMAScript specification, StringLiteral; the Kotlin grammar, EscapedIdentifier and UniCharacterLiteral; The Swift Programming
Language, Lexical Structure; C++ [lex.string].
"""

from __future__ import annotations

from collections.abc import Callable

from serving.texts import escaped, is_printable


def python_literal(text: str) -> str:
    """Return a Python string literal."""
    return _quoted(text, {"\\": "\\\\", '"': '\\"'}, escaped)


def js_literal(text: str) -> str:
    """Return a JavaScript string literal; its escapes are UTF-16 units."""
    return _quoted(text, {"\\": "\\\\", '"': '\\"'}, _utf_16)


def kotlin_literal(text: str) -> str:
    """Return a Kotlin string literal; its escapes are UTF-16 units, and `$` would start a template."""
    return _quoted(text, {"\\": "\\\\", '"': '\\"', "$": "\\$"}, _utf_16)


def swift_literal(text: str) -> str:
    r"""Return a Swift string literal; an escaped backslash cannot start an interpolation, `\(…)`."""
    return _quoted(text, {"\\": "\\\\", '"': '\\"'}, lambda character: f"\\u{{{ord(character):x}}}")


def cpp_literal(text: str) -> str:
    r"""Return a C++ string literal of UTF-8 bytes, whatever the compiler takes for the encoding of the file.

    Octal escapes have three digits at most, so that a digit may follow. `\?` prevents trigraphs.
    """
    escapes = {"\\": "\\\\", '"': '\\"', "?": "\\?"}
    parts = [escapes.get(character) or (character if character.isascii() and is_printable(character) else _octal(character))
             for character in text]  # fmt: skip
    return f'"{"".join(parts)}"'


def _quoted(text: str, escapes: dict[str, str], escape: Callable[[str], str]) -> str:
    parts = [escapes.get(character) or (character if _is_visible(character) else escape(character)) for character in text]
    return f'"{"".join(parts)}"'


def _is_visible(character: str) -> bool:
    return character.isprintable() and is_printable(character)


def _utf_16(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogatepass"))
