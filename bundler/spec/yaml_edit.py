"""Changes values in a bundle.yaml and leaves every other character of the file as it is.

ruamel.yaml's composer says where each key and value stands, and the text is changed there. Writing the whole document again,
as ruamel.yaml's round trip does, would also change the user's indentation of lists, spaces in braces and folded lines, and put
new keys below the blank line that separates two sections.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from bundler.errors import SpecError

Path: TypeAlias = tuple[str, ...]
"""The keys that lead to a value."""

Scalar: TypeAlias = bool | int | float | str
"""A value; a text is a plain word, such as a choice."""

Pair: TypeAlias = tuple[Node, Node]

_INDENT = 2
_COMMENT_AFTER = re.compile(r"( +)#")


def edit_yaml(text: str, changes: Mapping[Path, Scalar | None], *, where: str) -> str:
    """Set or remove values of nested mappings.

    A new key comes after the key of the same mapping that was changed before it, or last. If a comment of the mapping holds
    the key with an example, as in the bundle.yaml that `tfbundle init` writes, that line becomes the key. A mapping that
    loses its last key is removed.

    Args:
        text: a valid YAML document, whose root is a mapping.
        changes: value by path; None removes the key.
        where: the file, for error messages.

    Raises:
        SpecError: the value comes from an alias or a merge key (`*name`, `<<`), so it has no place of its own.
    """
    newline = "\r\n" if text.count("\r\n") == text.count("\n") > 0 else "\n"
    edited = text.replace(newline, "\n")
    ordered = sorted(changes.items(), key=lambda change: change[1] is None)  # a mapping is not emptied before it is filled
    after: Path = ()
    for path, value in ordered:
        edited = _remove(edited, path) if value is None else _set(edited, path, value, after)
        after = path
    if _load(edited) != _expected(_load(text), dict(ordered)):
        raise SpecError(
            f"{' and '.join(sorted({path[0] for path in changes}))} cannot be changed in place.",
            where=where,
            fix="write the section without anchors, aliases and merge keys (&name, *name, <<)",
            code="TFB1104",
        )
    return edited.replace("\n", newline)


def _load(text: str) -> Any:
    return YAML(typ="safe").load(text)


def _expected(data: Any, changes: Mapping[Path, Scalar | None]) -> Any:
    """Return the data that the edited text must have."""
    data = copy.deepcopy(data)
    for path, value in changes.items():
        parents = [data]
        for key in path[:-1]:
            parents.append(parents[-1].setdefault(key, {}))
        if value is not None:
            parents[-1][path[-1]] = value
            continue
        parents[-1].pop(path[-1], None)
        for parent, key in zip(parents[-2::-1], path[-2::-1], strict=True):
            if not parent[key]:
                del parent[key]
    return data


@dataclass(frozen=True)
class _Place:
    """A mapping in the text.

    Attributes:
        node: the mapping.
        stop: index of the text that comes after the mapping and its comments.
    """

    node: MappingNode
    stop: int

    @property
    def column(self) -> int:
        """Indentation of the keys."""
        return int(self.node.value[0][0].start_mark.column)

    def find(self, key: str) -> int | None:
        """Return the position of a key among the pairs."""
        keys = [pair[0].value for pair in self.node.value]
        return keys.index(key) if key in keys else None

    def child(self, number: int) -> _Place | None:
        """Return the mapping that is the value of a pair; None if the value is not a mapping, or stands elsewhere."""
        key, value = self.node.value[number]
        following = self.node.value[number + 1 :]
        stop = following[0][0].start_mark.index if following else self.stop
        return _Place(value, stop) if isinstance(value, MappingNode) and not _is_alias((key, value)) else None


def _root(text: str) -> _Place:
    return _Place(YAML(typ="safe").compose(text), len(text))


def _is_alias(pair: Pair) -> bool:
    """Return whether a value is an alias: the composer then gives the node of the anchor, which comes earlier."""
    return bool(pair[1].start_mark.index < pair[0].end_mark.index)


def _set(text: str, path: Path, value: Scalar, after: Path) -> str:
    place: _Place | None = _root(text)
    for depth, key in enumerate(path):
        if place is None:
            return text  # reported by edit_yaml
        number = place.find(key)
        if number is None:
            sibling = after[depth] if after[:depth] == path[:depth] and len(after) > depth else None
            return _insert(text, place, sibling, key, _nested(path[depth + 1 :], value))
        pair = place.node.value[number]
        place = place.child(number)
    old = pair[1]
    if _is_alias(pair) or not isinstance(old, ScalarNode):
        return text
    is_same = old.value == _text(value) and old.style is None
    return text if is_same else _splice(text, old.start_mark.index, old.end_mark.index, _text(value))


def _nested(path: Path, value: Scalar) -> Any:
    return {path[0]: _nested(path[1:], value)} if path else value


def _text(value: Any) -> str:
    """Return a value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(member)}" for key, member in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _insert(text: str, place: _Place, sibling: str | None, key: str, value: Any) -> str:
    pairs = place.node.value
    if place.node.flow_style:
        at = pairs[-1][1].end_mark.index if pairs else place.node.end_mark.index - 1
        return f"{text[:at]}{', ' if pairs else ''}{key}: {_text(value)}{text[at:]}"
    example = re.compile(rf"^ {{{place.column}}}# ?{re.escape(key)}: (?:[\w.]+|\{{[^#\n]*\}})(?= *$| +#)", re.M)
    if match := example.search(text, pairs[0][0].start_mark.index, place.stop):
        return _splice(text, *match.span(), f"{' ' * place.column}{key}: {_text(value)}")
    number = None if sibling is None else place.find(sibling)
    at = _end(text, place, len(pairs) - 1 if number is None else number)
    blank = "" if place.column else "\n"  # between two sections
    return f"{text[:at]}{blank}{_block(key, value, place.column)}{text[at:]}"


def _block(key: str, value: Any, column: int) -> str:
    head = f"\n{' ' * column}{key}:"
    if not isinstance(value, dict):
        return f"{head} {_text(value)}"
    return head + "".join(_block(name, member, column + (column or _INDENT)) for name, member in value.items())


def _splice(text: str, start: int, end: int, new: str) -> str:
    """Replace a part of a line; a comment to its right keeps its column."""
    gap = _COMMENT_AFTER.match(text, end)
    if gap is None:
        return text[:start] + new + text[end:]
    width = end - start + len(gap[1]) - len(new)
    return text[:start] + new + " " * max(width, 1) + text[gap.end(1) :]


def _end(text: str, place: _Place, number: int) -> int:
    """Return where the lines of a pair end, with the comments below it that are indented more than its key."""
    at = _line_end(text, max(map(_last_index, place.node.value[number])))
    comment = re.compile(rf"\n {{{place.column + 1},}}#[^\n]*")
    while match := comment.match(text, at):
        at = match.end()
    return at


def _last_index(node: Node) -> int:
    """Return the index after the last character of a node. A block's own mark is that of whatever comes next."""
    index = int(node.end_mark.index)
    if isinstance(node, CollectionNode) and node.value and not node.flow_style:
        parts = (part for item in node.value for part in (item if isinstance(item, tuple) else (item,)))
        return max(map(_last_index, parts))
    # The mark of a block scalar is after its last line break.
    return index - 1 if isinstance(node, ScalarNode) and node.style in ("|", ">") else index


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _remove(text: str, path: Path) -> str:
    place: _Place | None = _root(text)
    for key in path[:-1]:
        number = None if place is None else place.find(key)
        place = None if place is None or number is None else place.child(number)
    number = None if place is None else place.find(path[-1])
    if place is None or number is None:
        return text
    pairs = place.node.value
    if len(pairs) == 1 and len(path) > 1:
        return _remove(text, path[:-1])
    key_start = pairs[number][0].start_mark.index
    if not place.node.flow_style:
        start = text.rfind("\n", 0, key_start)
        end = _end(text, place, number)
        return text[: start + 1] + text[end + 1 :] if start < 0 else text[:start] + text[end:]
    if number + 1 < len(pairs):
        return text[:key_start] + text[pairs[number + 1][0].start_mark.index :]
    return text[: pairs[number - 1][1].end_mark.index] + text[pairs[number][1].end_mark.index :]
