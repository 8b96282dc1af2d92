"""Readers of string literals, written from the languages' grammars, to check what a compiler would see."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.requirements import require_program

_SIMPLE = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_KOTLIN = re.compile(r"""\\(?:u(?P<unit>[0-9a-fA-F]{4})|(?P<simple>[tbrn'"\\$]))|(?P<raw>[^\\"$\n\r])""")
_JS = re.compile(r"""\\(?:u(?P<unit>[0-9a-fA-F]{4})|(?P<simple>[tnr'"\\]))|(?P<raw>[^\\"\n\r])""")
_SWIFT = re.compile(r"""\\(?:u\{(?P<unit>[0-9a-fA-F]{1,8})\}|(?P<simple>[0tnr"'\\]))|(?P<raw>[^\\"\n\r])""")


def read_python(literal: str) -> str:
    value = ast.literal_eval(literal)
    assert isinstance(value, str)
    return value


def read_kotlin(literal: str) -> str:
    units = [_units(m["raw"] or {**_SIMPLE, "b": "\b", "$": "$"}.get(m["simple"]) or chr(int(m["unit"], 16)))
             for m in _matches(_KOTLIN, literal)]  # fmt: skip
    return b"".join(units).decode("utf-16-le", "surrogatepass")


def read_js(literal: str) -> str:
    units = [_units(m["raw"] or _SIMPLE.get(m["simple"]) or chr(int(m["unit"], 16))) for m in _matches(_JS, literal)]
    return b"".join(units).decode("utf-16-le", "surrogatepass")


def read_swift(literal: str) -> str:
    matches = _matches(_SWIFT, literal)
    return "".join(m["raw"] or {**_SIMPLE, "0": "\0"}.get(m["simple"]) or chr(int(m["unit"], 16)) for m in matches)


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _matches(grammar: re.Pattern[str], literal: str) -> list[re.Match[str]]:
    assert literal[0] == literal[-1] == '"'
    inner, matches, place = literal[1:-1], [], 0
    while place < len(inner):
        match = grammar.match(inner, place)
        assert match, f"not in the grammar: {inner[place:]!r}"
        matches.append(match)
        place = match.end()
    return matches


def read_cpp(literals: Sequence[str], folder: Path) -> list[str]:
    """Compile the literals into a program that prints their bytes; trigraphs are on, as before C++17."""
    compiler = require_program("g++", "clang++", install="apt-get install g++")
    source, program = folder / "literals.cc", folder / "literals"
    loop = 'for (unsigned char c : std::string({})) std::printf("%02x", c);\n  std::puts("");'
    prints = "\n".join(loop.format(text) for text in literals)
    source.write_text(f"#include <cstdio>\n#include <string>\nint main() {{\n{prints}\n}}\n", "utf-8")
    command = [compiler, "-std=c++11", "-trigraphs", "-Wall", "-Werror", "-o", str(program), str(source)]
    subprocess.run(command, check=True, timeout=120)
    lines = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()
    return [bytes.fromhex(line).decode() for line in lines]
