"""bundle.json: the contents of a bundle, their origin and their measurements.

    schema      "tfbundle/1"
    digest      sha256 of the canonical JSON without this key
    tools       versions of the tools that made the newest part
    spec        the BundleSpec, as read
    models      name -> versions -> version -> record of the build (source, signatures, parity, tflite, …)
    files       path relative to the root -> size in bytes, sha256
    promotions  the changes made by `tfbundle promote`, oldest first (see bundler.operations.promote); absent if there are none

The file's bytes are exactly `Manifest.to_bytes()`: sorted keys, an indent of two spaces, one newline at the end. A flipped
byte anywhere, white space included, therefore makes the file invalid JSON, not canonical, or contradicts the digest.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from bundler.bundle.layout import parse_version
from bundler.errors import VerifyError

SCHEMA = "tfbundle/1"
_TOOLS = ("tfbundle", "torch", "tensorflow", "onnx", "onnxruntime")
_CHUNK = 1 << 20

Record = dict[str, Any]
"""The entry of bundle.json for one version of a model."""


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Return the entry of a file on disk.

        Raises:
            OSError: the file cannot be read.
        """
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return cls(size, digest.hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The content of a bundle.json. Versions are ints here and strings in the file."""

    spec: Mapping[str, Any]
    models: Mapping[str, Mapping[int, Record]] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    promotions: tuple[Record, ...] = ()

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model, ascending; none for an unknown model."""
        return sorted(self.models.get(model, {}))

    def with_version(self, model: str, number: int, record: Record) -> Manifest:
        """Return a manifest that also has this version."""
        models = {name: dict(versions) for name, versions in self.models.items()}
        models.setdefault(model, {})[number] = record
        return replace(self, models=models)

    def without_version(self, model: str, number: int) -> Manifest:
        """Return a manifest without this version; a model without versions is dropped."""
        models = {name: dict(versions) for name, versions in self.models.items()}
        del models[model][number]
        return replace(self, models={name: versions for name, versions in models.items() if versions})

    def to_bytes(self) -> bytes:
        """Return the canonical content of bundle.json."""
        body = self._body()
        return _canonical({**body, "digest": _digest(body)})

    def _body(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "tools": dict(self.tools),
            "spec": _finite(dict(self.spec)),
            "models": {
                name: {"versions": {str(number): _finite(record) for number, record in versions.items()}}
                for name, versions in self.models.items()
            },
            "files": {path: {"size": e.size, "sha256": e.sha256} for path, e in self.files.items()},
            **({"promotions": list(self.promotions)} if self.promotions else {}),
        }

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Manifest:
        """Parse and check the content of a bundle.json; `where` names it in messages.

        Raises:
            VerifyError: the content is not JSON, has another schema or a wrong digest, or is not canonical.
        """
        body = _parse(data, where)
        digest = body.pop("digest", None)
        if digest != _digest(body):
            raise _damaged(where, "its digest does not match its content")
        try:
            promotions = tuple(dict(entry) for entry in body.get("promotions", ()))
            manifest = cls(body["spec"], _models(body["models"]), _files(body["files"]), body["tools"], promotions)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise _damaged(where, f"a part of it is missing or malformed ({exc})") from exc
        if manifest.to_bytes() != data:
            raise _damaged(where, "it is not in the form that tfbundle writes")
        return manifest

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a bundle.json from disk.

        Raises:
            VerifyError: the file does not exist, cannot be read, or is damaged.
        """
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise VerifyError(
                f"{path.parent} is not a bundle: it has no {path.name}.",
                fix="give the folder that tfbundle build wrote",
            ) from exc
        except OSError as exc:
            raise VerifyError(f"{path} cannot be read: {exc.strerror}.") from exc
        return cls.from_bytes(data, where=str(path))


def tool_versions() -> dict[str, str]:
    """Return the installed versions of the tools that make a bundle, without importing them."""
    versions = {"python": platform.python_version()}
    for name in _TOOLS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def hash_files(root: Path, paths: Iterable[Path]) -> dict[str, FileEntry]:
    """Return the entries of `paths`, by path relative to `root`."""
    return {path.relative_to(root).as_posix(): FileEntry.of(path) for path in sorted(paths)}


def files_under(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; symbolic links count as files and are not followed."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def _canonical(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _finite(value: Any) -> Any:
    """Replace non-finite floats, which JSON does not have, by "inf", "-inf" or "nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        body = json.loads(data.decode("utf-8"))
    except ValueError as exc:
        raise _damaged(where, f"it is not JSON ({exc})") from exc
    if not isinstance(body, dict):
        raise _damaged(where, "it is not a JSON object")
    schema = body.get("schema")
    if schema != SCHEMA:
        raise VerifyError(
            f"{where} has the schema {schema!r}; this tfbundle reads {SCHEMA!r}.",
            fix="build it again, or use the tfbundle that wrote it",
        )
    return body


def _models(data: Mapping[str, Any]) -> dict[str, dict[int, Record]]:
    return {
        name: {_number(text): record for text, record in entry["versions"].items()}
        for name, entry in data.items()
    }


def _number(text: str) -> int:
    number = parse_version(text)
    if number is None:
        raise ValueError(f"version {text!r}")
    return number


def _files(data: Mapping[str, Any]) -> dict[str, FileEntry]:
    for path in data:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"the path {path!r} leads out of the bundle")
    return {path: FileEntry(entry["size"], entry["sha256"]) for path, entry in data.items()}


def _damaged(where: str, how: str) -> VerifyError:
    return VerifyError(
        f"{where} is damaged: {how}.",
        fix="fetch the bundle again, or build it again; do not edit bundle.json by hand",
    )
