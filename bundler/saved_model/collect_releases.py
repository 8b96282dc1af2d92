"""Write `tf_releases.json`, the operators and CPU kernels of TensorFlow's releases, from the wheels of tensorflow-cpu.

    pip download --no-deps --python-version 3.11 --only-binary :all: tensorflow-cpu==2.12.1   # and each other release
    python -m bundler.saved_model.collect_releases tensorflow_cpu-*.whl

The wheels are not installed. A process of its own loads the two shared libraries of a wheel and asks TensorFlow's C API for what
they register (`TF_GetAllOpList`, `TF_GetAllRegisteredKernels`), so that the lists are those of the code that a server of this
release runs: tensorflow_model_server is linked from the same sources. All operators are kept, because users' handlers may call
any of them, except for internal ones (`_FusedConv2D`), which only TensorFlow's optimizer puts into a graph. A patch release
adds no operators, so that one wheel stands for its minor release.

The installed tensorflow provides only the class of the kernels' message.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundler.saved_model.op_values import plain_value, type_codes
from bundler.saved_model.releases import DATA, is_internal
from serving.protocol.messages import message

_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
"""In the order in which they have to be loaded."""

_VERSION_HEADER = "tensorflow/include/tensorflow/core/public/version.h"
_WHEEL = re.compile(r"(tensorflow(?:_cpu)?)-(\d+)\.(\d+)(\.\d+)-")
_DEVICES = frozenset({"CPU", "DEFAULT"})
"""Kernels for the device type DEFAULT run on CPUs where an operator has no kernel for them (framework/op_kernel.cc)."""

_MODULE = "bundler.saved_model.collect_releases"

Table = dict[str, Any]


class _Buffer(ctypes.Structure):
    """TF_Buffer of tensorflow/c/tf_buffer.h."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


def dump(folder: Path) -> None:
    """Load TensorFlow's libraries from `folder` and write its files `ops` and `kernels`: serialized OpList and KernelList."""
    for name in _LIBRARIES:
        library = ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    library.TF_NewStatus.restype = ctypes.c_void_p
    library.TF_GetAllOpList.restype = ctypes.POINTER(_Buffer)
    library.TF_GetAllRegisteredKernels.restype = ctypes.POINTER(_Buffer)
    library.TF_GetAllRegisteredKernels.argtypes = [ctypes.c_void_p]
    buffers = {"ops": library.TF_GetAllOpList(), "kernels": library.TF_GetAllRegisteredKernels(library.TF_NewStatus())}
    for name, buffer in buffers.items():
        (folder / name).write_bytes(ctypes.string_at(buffer.contents.data, buffer.contents.length))


def registered(libraries: Path, out: Path) -> dict[str, Table]:
    """Return the tables `ops` and `kernels` of what TensorFlow's libraries in a folder register.

    Args:
        libraries: the folder with the libraries.
        out: a folder for temporary files.
    """
    for name in _LIBRARIES:
        if not (out / name).exists():
            (out / name).symlink_to((libraries / name).resolve())
    subprocess.run([sys.executable, "-m", _MODULE, "--dump", str(out)], check=True, stderr=subprocess.DEVNULL)
    from tensorflow.core.framework.kernel_def_pb2 import KernelList

    ops = message("tensorflow.OpList").FromString((out / "ops").read_bytes())
    kernels = KernelList.FromString((out / "kernels").read_bytes())
    attributes = {op.name: {attr.name: _attribute(attr) for attr in op.attr} for op in ops.op if not is_internal(op.name)}
    return {"ops": attributes, "kernels": _kernels(kernels.kernel)}


def _attribute(attr: Any) -> list[Any]:
    """Return `[type, default, constraint]` without trailing nulls; the constraint is allowed types or texts, or a minimum."""
    allowed = attr.allowed_values.list
    entry = [
        attr.type,
        plain_value(attr.default_value) if attr.HasField("default_value") else None,
        type_codes(allowed.type) or [text.decode() for text in allowed.s] or (attr.minimum if attr.has_minimum else None),
    ]
    while entry[-1] is None:
        entry.pop()
    return entry


def _kernels(kernels: Iterable[Any]) -> Table:
    """Return, per operator, the constrained attributes and the types of each kernel: `{"Cast": "DstT,SrcT 1,2 1,3"}`.

    A kernel that does not constrain an attribute has `*` for it.
    """
    rows: dict[str, list[dict[str, str]]] = {}
    for kernel in kernels:
        if kernel.device_type in _DEVICES and not kernel.label and not is_internal(kernel.op):
            types = {rule.name: type_codes(rule.allowed_values.list.type) for rule in kernel.constraint}
            rows.setdefault(kernel.op, []).append({name: codes for name, codes in types.items() if codes})
    table: Table = {}
    for op, found in sorted(rows.items()):
        names = sorted({name for row in found for name in row})
        table[op] = " ".join([",".join(names), *sorted({",".join(row.get(name, "*") for name in names) for row in found})])
    return table


def _read_wheel(wheel: Path) -> tuple[str, Table, dict[str, Table]]:
    """Return a wheel's minor release, its versions and its tables."""
    match = _WHEEL.match(wheel.name)
    if match is None:
        raise SystemExit(f"{wheel} is not a wheel of tensorflow-cpu or tensorflow.")
    package, major, minor, patch = match.groups()
    with tempfile.TemporaryDirectory(prefix="tfbundle-wheel-") as text, zipfile.ZipFile(wheel) as archive:
        folder = Path(text)
        for name in _LIBRARIES:
            archive.extract(f"tensorflow/{name}", folder)
        header = archive.read(_VERSION_HEADER).decode()
        tables = registered(folder / "tensorflow", folder)
    versions = {
        "package": f"{package.replace('_', '-')} {major}.{minor}{patch}",
        "graph_def_version": _defined(header, "TF_GRAPH_DEF_VERSION"),
        "min_producer": _defined(header, "TF_GRAPH_DEF_VERSION_MIN_PRODUCER"),
    }
    return f"{major}.{minor}", versions, tables


def _defined(header: str, name: str) -> int:
    match = re.search(rf"#define {name} (\d+)\b", header)
    assert match, name
    return int(match[1])


def compact(found: Iterable[tuple[str, Table, Mapping[str, Table]]]) -> Table:
    """Return the content of the file: the oldest release completely, and of each later one what changed.

    Args:
        found: name, versions and tables of each release.
    """
    releases: Table = {}
    before: Mapping[str, Table] = {}
    for name, versions, tables in sorted(found, key=lambda each: tuple(map(int, each[0].split(".")))):
        releases[name] = {**versions, **{key: _changes(before.get(key, {}), table) for key, table in tables.items()}}
        before = tables
    return releases


def _changes(before: Table, after: Table) -> Table:
    """Return the entries that are new or changed, and None for those that are gone."""
    return {key: after.get(key) for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)}


def to_text(releases: Table) -> str:
    """Return the file's text: JSON with one line per operator, so that differences can be read."""
    parts = []
    for name, release in releases.items():
        lines = []
        for key, value in release.items():
            rows = [f'"{op}":{_json(row)}' for op, row in value.items()] if isinstance(value, dict) else []
            lines.append(f'"{key}": ' + ("{\n" + ",\n".join(rows) + "\n}" if rows else _json(value)))
        parts.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main(arguments: Sequence[str]) -> None:
    """Write the file from wheels, or, with `--dump FOLDER`, the lists of the libraries in a folder."""
    if arguments[:1] == ["--dump"]:
        dump(Path(arguments[1]))
        return
    found = [_read_wheel(Path(name)) for name in arguments]
    DATA.write_text(to_text(compact(found)), "utf-8")
    print(f"{DATA}: {DATA.stat().st_size} bytes, releases {', '.join(release[0] for release in found)}")


if __name__ == "__main__":
    main(sys.argv[1:])
