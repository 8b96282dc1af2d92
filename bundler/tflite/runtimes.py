"""TFLite runtimes: the operators and kernels of each release, and what a .tflite file requires of them.

`runtimes.json` is measured (`docs/tflite_runtimes.py`): small files, each of one kernel and one dtype, are run by the wheels from
PyPI. For each release, oldest first, it holds

- `released`: the date of its wheel; `tensorflow`: the TensorFlow version that the converter's metadata counts in;
- `ops`: the oldest and the newest version of each operator; a later release has only what changed;
- `lacks`: by operator, the types that it has no kernel for although it has the version, and its message;
- `lowers`: by operator, the types that it computes right although it does not have the version that the converter writes.

`known_bad.json` lists the releases that compute an operator wrongly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bundler.errors import UsageError
from bundler.tflite.contents import TfliteOperator, distinct, operators_of

DATA = Path(__file__).with_name("runtimes.json")
KNOWN_BAD = Path(__file__).with_name("known_bad.json")

LITERT, TFLITE_RUNTIME = "litert", "tflite-runtime"
PACKAGES: Mapping[str, str] = {LITERT: "ai-edge-litert", TFLITE_RUNTIME: "tflite-runtime"}
"""The families of runtimes, and their packages on PyPI. LiteRT for Android and iOS has the same release numbers."""

_TARGET = re.compile(r"\s*([^=\s]+)\s*==\s*v?(\d+)\.(\d+)(?:\.(\d+))?\s*")
_NOT_CHECKED = ("CUSTOM", "DELEGATE")

Number = tuple[int, ...]
LayerOf = Callable[[TfliteOperator], str]


@dataclass(frozen=True)
class Lack:
    """Something that a release cannot do for some operators of a file.

    Attributes:
        op: the operator's name in TFLite, such as `DIV`.
        version: its version in the file.
        what: the reason, such as "has no kernel for INT8".
        layers: names of their layers.
    """

    op: str
    version: int
    what: str
    layers: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.layers[:3]) + (f" and {len(self.layers) - 3} more" if len(self.layers) > 3 else "")
        return f"{self.op} version {self.version} in {shown}: {self.what}" if shown else f"{self.op}: {self.what}"


@dataclass(frozen=True)
class KnownBad:
    """A fault of some releases.

    Attributes:
        op: the operator's name in TFLite.
        types: the types of the inputs for which it occurs, with the marks of `TfliteOperator.types`; the operator reads all.
        family: `litert` or `tflite-runtime`.
        first, last: the oldest and the newest release with the fault; `last` is None if no release without it is known.
        what: what happens.
        source: how it is known, with the date.
        axes: the number of axes from which on it occurs; 0 for any.
        optional: whether it depends on the values, so that a target runtime with the fault is not refused.
    """

    op: str
    types: tuple[str, ...]
    family: str
    first: str
    last: str | None
    what: str
    source: str
    axes: int = 0
    optional: bool = False

    @property
    def releases(self) -> str:
        """The releases as text, such as `litert 2.0.3 to 2.1.2`."""
        if self.last is None:
            return f"{self.family} {self.first} and newer"
        return f"{self.family} {self.first}" + (f" to {self.last}" if self.last != self.first else "")

    def concerns(self, operator: TfliteOperator) -> bool:
        """Return whether an operator is one of those that go wrong."""
        if operator.name != self.op or operator.axes < self.axes:
            return False
        return set(self.types) <= set(operator.types.partition(">")[0].split(","))

    def includes(self, runtime: Runtime) -> bool:
        """Return whether a release has the fault."""
        if runtime.family != self.family or runtime.number < _number(self.first):
            return False
        return self.last is None or runtime.number <= _number(self.last)

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json and export.json."""
        return {
            "op": self.op, "types": [kind.rstrip("*") for kind in self.types], "runtime": self.family,
            "first": self.first, "last": self.last, "what": self.what, "source": self.source,
        }  # fmt: skip

    def __str__(self) -> str:
        of = f" of {', '.join(kind.rstrip('*') for kind in self.types)}" if self.types else ""
        return f"{self.releases}: {self.op}{of} {self.what}"


@dataclass(frozen=True)
class Runtime:
    """A release of a runtime.

    Attributes:
        family: `litert` or `tflite-runtime`.
        release: its number on PyPI, such as `2.1.0`.
        released: the date of its wheel.
        tensorflow: the TensorFlow version that has the same operators, in which `min_runtime_version` counts.
    """

    family: str
    release: str
    released: str
    tensorflow: str
    _ops: Mapping[str, tuple[int, int]]
    _lacks: Mapping[str, Mapping[str, str]]
    _lowers: Mapping[str, tuple[str, ...]]

    @property
    def number(self) -> Number:
        """The release's number, which can be compared."""
        return _number(self.release)

    def __str__(self) -> str:
        return f"{self.family} {self.release}"

    def newest_version(self, op: str) -> int | None:
        """Return the newest version of an operator, or None if the release does not have it."""
        return self._ops[op][1] if op in self._ops else None

    def can_lower(self, operator: TfliteOperator) -> bool:
        """Return whether the release was seen to compute an operator right although it does not have its version."""
        return operator.types in self._lowers.get(operator.name, ())

    def lack(self, operator: TfliteOperator) -> str | None:
        """Return what the release lacks for an operator, in words; None if it can run it, its version lowered if need be."""
        if operator.custom:
            return None
        if operator.name not in self._ops:
            return "it does not have this operator"
        newest = self._ops[operator.name][1]
        if operator.version > newest and not self.can_lower(operator):
            return f"it has versions up to {newest}"
        if operator.types in self._lacks.get(operator.name, {}):
            kinds = ", ".join(dict.fromkeys(operator.inputs))
            return f"it has no kernel for {kinds} ({self._lacks[operator.name][operator.types]})"
        fault = next((each for each in known_bad() if each.includes(self) and each.concerns(operator)), None)
        return f"it {fault.what}" if fault and not fault.optional else None


@dataclass(frozen=True)
class RuntimeRequirements:
    """What a .tflite file requires of the runtime.

    Attributes:
        minimum: the oldest recorded release that runs the file, by family; None if none does. Older releases were not measured.
        known_bad: the faults that the file meets in releases that are no older than the minimum.
    """

    minimum: Mapping[str, str | None]
    known_bad: tuple[KnownBad, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json and export.json."""
        return {"minimum": dict(self.minimum), "known_bad": [fault.to_json() for fault in self.known_bad]}

    def lines(self) -> list[str]:
        """Return the requirements as lines of text."""
        parts = [f"{family} {release or 'none'}" for family, release in self.minimum.items()]
        return [f"oldest runtime: {', '.join(parts)}", *(f"known fault: {fault}" for fault in self.known_bad)]


def requirements_of(file: bytes) -> RuntimeRequirements:
    """Return what the operators of a .tflite file require of the runtime.

    A release that computes an operator wrongly does not count as one that runs the file; a fault in a newer release is listed.
    """
    operators = distinct(operators_of(file))
    minimum: dict[str, str | None] = {}
    for family in PACKAGES:
        fits = (runtime for runtime in known_runtimes(family) if runs(operators, runtime))
        minimum[family] = next((runtime.release for runtime in fits), None)
    return RuntimeRequirements(minimum, tuple(_faults(operators, minimum)))


def _faults(operators: Iterable[TfliteOperator], minimum: Mapping[str, str | None]) -> Iterator[KnownBad]:
    found = tuple(operators)
    for fault in known_bad():
        oldest = minimum[fault.family]
        is_old = oldest is None or (fault.last is not None and _number(fault.last) < _number(oldest))
        if not is_old and any(map(fault.concerns, found)):
            yield fault


def runs(operators: Iterable[TfliteOperator], runtime: Runtime) -> bool:
    """Return whether a release runs operators as they are, with their versions."""
    return all(
        runtime.lack(each) is None and (each.custom or each.version <= (runtime.newest_version(each.name) or 0))
        for each in operators
    )


def lacks(file: bytes, runtime: Runtime, layer_of: LayerOf | None = None) -> tuple[Lack, ...]:
    """Return what a release lacks for a .tflite file, grouped by operator, version and reason.

    Args:
        file: the file's content.
        runtime: the release.
        layer_of: returns the name of an operator's layer; None for a part of its tensor's name.
    """
    layer_of = layer_of or _layer_of
    groups: dict[tuple[str, int, str], list[str]] = {}
    for operator in operators_of(file):
        what = runtime.lack(operator)
        if what is not None:
            groups.setdefault((operator.name, operator.version, what), []).append(layer_of(operator))
    return tuple(Lack(*key, tuple(dict.fromkeys(filter(None, layers)))) for key, layers in groups.items())


def _layer_of(operator: TfliteOperator) -> str:
    return operator.tensor.partition("/")[0].partition(";")[0]


def known_runtimes(family: str | None = None) -> tuple[Runtime, ...]:
    """Return the recorded releases, or those of one family, oldest first."""
    return tuple(runtime for runtime in _runtimes() if family in (None, runtime.family))


def parse_target(text: str, option: str = "--target-runtime") -> Runtime:
    """Return the release that a target names: `litert==1.4`, `litert==2.1.6` or `tflite-runtime==2.14`.

    A target without a patch number is the oldest recorded release of that number, whose files the later ones run, too.

    Raises:
        UsageError: the text is not a target, or names an unknown runtime or release; the message lists what can be given.
    """
    names = {name: family for family, package in PACKAGES.items() for name in (family, package)}
    listed = "; ".join(f"{f}== {', '.join(each.release for each in known_runtimes(f))}" for f in PACKAGES)
    fix = f"give one of these releases, or one without its last number, e.g. litert==2.1: {listed}"
    match = _TARGET.fullmatch(text)
    if match is None:
        raise UsageError(f"{option}: {text!r} is not RUNTIME==VERSION.", fix=fix, code="TFB1002")
    family = names.get(match[1].lower().replace("_", "-"))
    if family is None:
        raise UsageError(f"{option}: unknown runtime {match[1]!r}.", fix=fix, code="TFB1002")
    wanted = tuple(int(part) for part in match.groups()[1:] if part is not None)
    found = next((each for each in known_runtimes(family) if each.number[: len(wanted)] == wanted), None)
    if found is None:
        release = ".".join(map(str, wanted))
        raise UsageError(f"{option}: no operators are recorded for {family} {release}.", fix=fix, code="TFB1002")
    return found


@cache
def known_bad() -> tuple[KnownBad, ...]:
    """Return the faults of known releases."""
    rows = json.loads(KNOWN_BAD.read_text("utf-8"))
    return tuple(KnownBad(**{**row, "types": tuple(row["types"])}) for row in rows)


@cache
def _runtimes() -> tuple[Runtime, ...]:
    packages = {package: family for family, package in PACKAGES.items()}
    found = []
    ops: dict[str, dict[str, tuple[int, int]]] = {family: {} for family in PACKAGES}
    for name, row in json.loads(DATA.read_text("utf-8")).items():
        package, release = name.split(" ")
        family = packages[package]
        changes = {op: (versions[0], versions[1]) for op, versions in row["ops"].items()}
        ops[family] = {**ops[family], **changes}
        lowers = {op: tuple(types) for op, types in row["lowers"].items()}
        found.append(Runtime(family, release, row["released"], row["tensorflow"], ops[family], row["lacks"], lowers))
    return tuple(found)


def _number(release: str) -> Number:
    return tuple(map(int, release.split(".")))
