"""Finds repeated code: runs of six or more lines that differ only in names and values."""

from __future__ import annotations

import keyword
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

from bundler.render.kubernetes.scripts import COPIES
from docs.house.imports import ROOT

RUN = 6
"""The smallest number of lines in a run."""
COMMON = 8
"""A run that occurs in more places than this is an idiom, not a twin."""
SUFFIXES = (".py", ".sh", ".js", ".tpl")
_THIN = re.compile(r"^[\W\d_]*$|^(from|import|#|//|@|else:|try:|finally:|return\b\W*$|pass$)")
_WORD = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\b\d[\w.]*|\b[A-Za-z_]\w*")
_KEYWORDS = frozenset({*keyword.kwlist, "self"})
_DATA = re.compile(r"(?!.*x\()[^a-wyzA-Z]*")
"""The shape of a row of a table, a field or prose, which has names, values and punctuation but no keyword or call."""
_GENERATED = {f"k8s/{copy}" for copies in COPIES.values() for copy in copies}
"""Copies that a command writes from one source; they do not count as twins."""
_SUBSTANCE, _LONG = 3, 16
"""A run counts only if at least _SUBSTANCE of its lines have more than _LONG characters; shorter ones are mostly punctuation."""


@dataclass(frozen=True)
class _Line:
    """A line of code: its number, its shape (with names, strings and numbers replaced by x), and its length as written."""

    number: int
    shape: str
    length: int


@dataclass(frozen=True)
class Twin:
    """Two places with the same code, each as `file:first-last`, and the number of lines that they share."""

    first: str
    second: str
    lines: int


@cache
def twins() -> tuple[Twin, ...]:
    """Return the pairs of places in the tracked source files that share a run, longest first, with one pair per two files."""
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    numbered = {path: _lines(path) for path in _sources()}
    for path, lines in numbered.items():
        for start in range(len(lines) - RUN + 1):
            run = lines[start : start + RUN]
            if sum(line.length > _LONG for line in run) >= _SUBSTANCE:
                places[tuple(line.shape for line in run)].append((path, start))
    longest: dict[tuple[Path, Path], Twin] = {}
    for occurrences in places.values():
        if len(occurrences) <= COMMON:
            for (path, start), (other_path, other_start) in combinations(occurrences, 2):
                if path is not other_path or other_start - start >= RUN:
                    _keep_longest(longest, numbered, (path, start), (other_path, other_start))
    return tuple(sorted(longest.values(), key=lambda twin: (-twin.lines, twin.first)))


def _keep_longest(
    longest: dict[tuple[Path, Path], Twin],
    numbered: dict[Path, list[_Line]],
    first: tuple[Path, int],
    second: tuple[Path, int],
) -> None:
    length = _shared(numbered[first[0]][first[1] :], numbered[second[0]][second[1] :])
    key = (first[0], second[0])
    if key not in longest or length > longest[key].lines:
        longest[key] = Twin(_place(*first, length, numbered), _place(*second, length, numbered), length)


def _shared(first: list[_Line], second: list[_Line]) -> int:
    pairs = zip(first, second, strict=False)
    return next((i for i, (line, other) in enumerate(pairs) if line.shape != other.shape), min(len(first), len(second)))


def _place(path: Path, start: int, length: int, numbered: dict[Path, list[_Line]]) -> str:
    lines = numbered[path][start : start + length]
    return f"{path.relative_to(ROOT).as_posix()}:{lines[0].number}-{lines[-1].number}"


def _sources() -> list[Path]:
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    else:  # an unpacked sdist
        listed = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.rglob("*")) if ".venv" not in path.parts]
    names = [name for name in listed if name.endswith(SUFFIXES) and name not in _GENERATED]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def _lines(path: Path) -> list[_Line]:
    out = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text = line.strip()
        if text and not _THIN.match(text):
            shape = _WORD.sub(lambda word: word[0] if word[0] in _KEYWORDS else "x", text)
            if path.suffix != ".py" or not _DATA.fullmatch(shape):
                out.append(_Line(number, shape, len(text)))
    return out
