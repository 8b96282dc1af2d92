"""TensorFlow's releases: the operators that each registers, their attributes, and the types that its CPU kernels take.

`tf_releases.json` (written by `bundler.saved_model.collect_releases`) holds the oldest release completely, and what changed in
each later one:

- `ops`: operator to its attributes, each `[type, default, constraint]` (`op_values.plain_value`); internal ones are left out;
- `kernels`: operator to the constrained attributes and the types of each kernel, such as `DstT,SrcT 1,2 1,3`;
- `graph_def_version`, `min_producer`: the versions of GraphDef that the release has and that it still reads.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bundler.errors import UsageError

DATA = Path(__file__).with_name("tf_releases.json")

SERVER = "tensorflow-serving"
"""The server that a target names. Its releases have TensorFlow's numbers, because it is linked from TensorFlow's sources."""

_TARGET = re.compile(r"\s*([^=\s]+)\s*==\s*(?:v?(\d+)\.(\d+)(?:\.\d+)*(?:-gpu)?)\s*")
_TAG = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?(?:-rc\d+)?(?:-gpu|-devel|-devel-gpu)?")


@dataclass(frozen=True)
class Attribute:
    """An attribute of an operator.

    Attributes:
        type: its type as TensorFlow names it, such as `list(int)`.
        default: the value of nodes that do not state it; None if they have to.
        constraint: the codes of the allowed types, the allowed texts, or the smallest number; None if all values are allowed.
    """

    type: str
    default: Any = None
    constraint: str | list[str] | int | None = None


@dataclass(frozen=True)
class Release:
    """A minor release of TensorFlow, and so of TensorFlow Serving.

    Attributes:
        name: such as `2.13`.
        package: the package whose registrations were recorded, such as `tensorflow-cpu 2.13.1`.
        graph_def_version: the version of GraphDef that it writes, the newest that it knows.
        min_producer: the oldest version of GraphDef that it reads.
    """

    name: str
    package: str
    graph_def_version: int
    min_producer: int
    _ops: dict[str, dict[str, list[Any]]]
    _kernels: dict[str, str]

    def __str__(self) -> str:
        return f"TensorFlow Serving {self.name}"

    def has_op(self, op: str) -> bool:
        """Return whether the release registers an operator."""
        return op in self._ops

    def attributes(self, op: str) -> dict[str, Attribute]:
        """Return an operator's attributes by name; an operator that the release lacks has none."""
        return {name: Attribute(*entry) for name, entry in self._ops.get(op, {}).items()}

    def kernels(self, op: str) -> list[dict[str, str]]:
        """Return the operator's CPU kernels, each as the codes of the types that it takes by attribute; `*` stands for any."""
        names, *rows = self._kernels.get(op, "").split(" ")
        return [dict(zip(names.split(","), row.split(","), strict=True)) if names else {} for row in rows]


def is_internal(op: str) -> bool:
    """Return whether an operator is one of TensorFlow's internal ones, which no release records."""
    return op.startswith("_")


def known_releases() -> tuple[str, ...]:
    """Return the names of the releases, oldest first."""
    return tuple(_data())


def parse_target(text: str) -> Release:
    """Return the release that a target such as `tensorflow-serving==2.13` names; patch numbers do not matter.

    Raises:
        UsageError: the text is not a target, or names another server or an unknown release; the message lists what can be given.
    """
    known = known_releases()
    fix = f"give --target {SERVER}==VERSION with a version from {known[0]} to {known[-1]}, e.g. {SERVER}==2.13"
    match = _TARGET.fullmatch(text)
    if match is None:
        raise UsageError(f"--target {text!r} is not SERVER==VERSION.", fix=fix, code="TFB1002")
    server, major, minor = match[1].lower().replace("_", "-"), match[2], match[3]
    if server != SERVER:
        raise UsageError(f"--target: unknown server {match[1]!r}.", fix=fix, code="TFB1002")
    if f"{major}.{minor}" not in known:
        raise UsageError(
            f"--target: no operators are recorded for TensorFlow Serving {major}.{minor}.", fix=fix, code="TFB1002"
        )
    return read_release(f"{major}.{minor}")


def release_of_tag(tag: str) -> str | None:
    """Return the minor release that a tag of the image tensorflow/serving names, such as 2.19 for `2.19.1-gpu`.

    Return None for a tag without a version, such as `latest` or `nightly`. The release need not be a known one.
    """
    match = _TAG.fullmatch(tag)
    return f"{match[1]}.{match[2]}" if match else None


@cache
def read_release(name: str) -> Release:
    """Return a release by its name.

    Raises:
        KeyError: there is none of this name.
    """
    ops: dict[str, Any] = {}
    kernels: dict[str, Any] = {}
    for number, release in _data().items():
        for table, key in ((ops, "ops"), (kernels, "kernels")):
            table.update(release[key])
        if number == name:
            tables = [{op: row for op, row in table.items() if row is not None} for table in (ops, kernels)]
            return Release(name, release["package"], release["graph_def_version"], release["min_producer"], *tables)
    raise KeyError(name)


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(DATA.read_text("utf-8"))
    return data
