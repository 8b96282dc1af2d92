"""Reads a bundle.yaml that may come from anybody: bounded in size, depth and aliases; errors name the line.

A file is read twice. The first pass sees only the parser's events, builds nothing, and refuses what would make the second one
run out of time or memory: a few aliases of aliases can stand for billions of values.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from bundler.errors import SpecError
from serving.texts import escaped

LARGEST_FILE = 512 * 1024
"""The most bytes of a file."""

LARGEST_COUNT = 25_000
"""The most values in a file, those that aliases repeat included: a few seconds of work for the parser."""

DEEPEST = 32
"""The most levels of lists and mappings within each other; bundle.yaml itself has seven."""

_SHOWN = 200  # characters of a problem, which may quote the file
_SHORTEN = "long lists, such as class names, can stand in files of their own"


def read_yaml_file(path: Path) -> Any:
    """Return the content of a YAML file as plain dicts, lists and scalars.

    Raises:
        SpecError: if it is not a regular file of UTF-8 text, not one valid YAML document, or too large.
    """
    return parse_yaml(read_yaml_text(path), path)


def parse_yaml(text: str, path: Path) -> Any:
    """Return the content of the text of a YAML file, as `read_yaml_file` does.

    Raises:
        SpecError: if it is not one valid YAML document, or too large.
    """
    try:
        _check_events(text, path)
        return YAML(typ="safe").load(text)
    except ReaderError as exc:
        character = escaped(text[exc.position : exc.position + 1] or "\0")
        raise _invalid(path, _line(text, exc.position), f"the character {character} is not allowed in YAML") from exc
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        problem = " ".join(str(exc.problem or exc.context).split())
        raise _invalid(path, mark.line + 1 if mark else 1, problem, mark.column + 1 if mark else None) from exc
    except YAMLError as exc:
        raise _invalid(path, 1, " ".join(str(exc).split())) from exc
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as exc:  # a scalar that its tag does not fit
        raise _invalid(path, *_wrong_scalar(text)) from exc


def read_yaml_text(path: Path) -> str:
    """Return the text of a YAML file, which need not be valid YAML; symbolic links are followed.

    Raises:
        SpecError: it is not a regular file of UTF-8 text, or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SpecError(
                f"{path} cannot be read: it is not a regular file.",
                fix="give the path of a bundle.yaml",
                code="TFB1101",
            )
        if status.st_size > LARGEST_FILE:
            raise _too_large(path, f"it has more than {LARGEST_FILE // 1024} KiB")
        data = path.read_bytes()
    except FileNotFoundError as exc:
        fix = "check the path, or write a bundle.yaml with `tfbundle init`"
        raise SpecError(f"The file {path} does not exist.", fix=fix, code="TFB1101") from exc
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        raise SpecError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}.", code="TFB1101") from exc
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise SpecError(
            f"{path} cannot be read: it is not UTF-8.",
            where=f"{path}, line {line}",
            fix="save the file as UTF-8",
            code="TFB1101",
        ) from exc


def _check_events(text: str, path: Path) -> None:
    """Check how deep the file is and how many values it stands for.

    Raises:
        SpecError: if it is too deep or too large, or an alias repeats the value that it is in.
    """
    total = 0
    sizes: dict[str, int | None] = {}  # by anchor; None while the value is not complete
    opened: list[tuple[str | None, int]] = []  # anchor of each list or mapping around, and the total before it
    for name, anchor, line in _events(text):
        if name == "AliasEvent":
            size = sizes.get(str(anchor), 0)
            if size is None:
                raise _invalid(path, line, f"the alias *{anchor} repeats the value that it is in")
            total += size
        elif name.endswith("StartEvent"):
            opened.append((anchor, total))
            total += 1
            if anchor:
                sizes[anchor] = None
        elif name.endswith("EndEvent"):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = total - before
        else:
            total += 1
            if anchor:
                sizes[anchor] = 1
        if len(opened) > DEEPEST:
            raise _invalid(path, line, f"lists and mappings are nested more than {DEEPEST} deep")
        if total > LARGEST_COUNT:
            raise _too_large(path, f"it has more than {LARGEST_COUNT:,} values, those that aliases repeat included", line)


def _events(text: str) -> Iterator[tuple[str, str | None, int]]:
    """Yield name, anchor and line of the parser's events for values."""
    for event in YAML(typ="safe").parse(text):
        name = type(event).__name__
        if not name.startswith(("Stream", "Document")):
            yield name, getattr(event, "anchor", None), event.start_mark.line + 1


def _wrong_scalar(text: str) -> tuple[int, str]:
    """Return the line of the first scalar that cannot be read as what it looks like, and the problem."""
    yaml = YAML(typ="safe")
    pending = [yaml.compose(text)]
    while pending:
        node = pending.pop()
        if isinstance(node.value, list):
            children = [child for item in node.value for child in (item if isinstance(item, tuple) else (item,))]
            pending += reversed(children)
            continue
        try:
            yaml.constructor.construct_object(node)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError):
            value = node.value if len(node.value) <= 40 else f"{node.value[:40]}…"
            return node.start_mark.line + 1, f"{value!r} is not a valid {node.tag.rpartition(':')[2]}"
    return 1, "a value cannot be read"


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _invalid(path: Path, line: int, problem: str, column: int | None = None) -> SpecError:
    problem = problem if len(problem) <= _SHOWN else f"{problem[:_SHOWN]}…"
    where = f"{path}, line {line}" + (f", column {column}" if column else "")
    return SpecError(f"{path} is not valid YAML: {problem}.", where=where, fix=_hint(problem), code="TFB1102")


def _hint(problem: str) -> str | None:
    """Return what to do about an error whose words only the parser's authors understand."""
    if "mapping values are not allowed" in problem or "while scanning" in problem:
        return "put a value that has a colon, '#' or a quote into single quotes, and check the indentation"
    return None


def _too_large(path: Path, problem: str, line: int = 0) -> SpecError:
    where = f"{path}, line {line}" if line else None
    return SpecError(f"{path} is too large: {problem}.", where=where, fix=_SHORTEN, code="TFB1102")
