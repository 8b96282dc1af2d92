"""bundle.json: the contents of a bundle, their origin and their measurements.

    schema      "tfbundle/1"
    digest      sha256 of the canonical JSON without this key
    tools       versions of the tools that made the newest part
    spec        the BundleSpec, as read
    models      name -> versions -> version -> record of the build (source, signatures, parity, tflite, …)
    files       path relative to the root -> size in bytes, sha256
    promotions  the changes made by `tfbundle promote`, oldest first (see bundler.operations.promote); absent if there are none

`bundler.bundle.schema` has all keys; reading checks them once, so no command meets a missing or malformed one.

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
from pathlib import Path
from typing import Any, NoReturn

from bundler.errors import VerifyError
from serving.regular_file import open_regular

SCHEMA = "tfbundle/1"
MAX_BYTES = 64 << 20
"""Largest bundle.json that is read; a bundle of a dozen models has about a megabyte."""
MAX_DEPTH = 64
"""Deepest nesting that is read; tfbundle writes about ten levels."""
_TOOLS = ("tfbundle", "torch", "tensorflow", "onnx", "onnxruntime")
_CHUNK = 1 << 20
_LONGEST_KEY = 4096  # the longest path of Linux

Record = dict[str, Any]
"""The entry of bundle.json for one version of a model."""


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path, *, follow: bool = True) -> FileEntry:
        """Return the entry of a file on disk. Without `follow`, a symbolic link is an error.

        Raises:
            OSError: the file cannot be read, or is not a regular file; a FIFO is not waited for.
        """
        digest, size = hashlib.sha256(), 0
        with open_regular(path, follow=follow) as file:
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
        return _canonical(self.content())

    def content(self) -> dict[str, Any]:
        """Return the content of bundle.json as a JSON object."""
        body = self._body()
        return {**body, "digest": _digest(body)}

    def _body(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "tools": dict(self.tools),
            "spec": finite(dict(self.spec)),
            "models": {
                name: {"versions": {str(number): finite(record) for number, record in versions.items()}}
                for name, versions in self.models.items()
            },
            "files": {path: {"size": e.size, "sha256": e.sha256} for path, e in self.files.items()},
            **({"promotions": list(self.promotions)} if self.promotions else {}),
        }

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Manifest:
        """Parse and check the content of a bundle.json; `where` names it in messages.

        Raises:
            VerifyError: the content is not JSON, has another schema or a wrong digest, lacks a key or has a malformed one, or
                is not canonical.
        """
        body = _parse(data, where)
        digest = body.pop("digest", None)
        try:
            matches = digest == _digest(body)
        except ValueError as exc:
            raise _damaged(where, f"it has text that is not Unicode ({exc})") from exc
        if not matches:
            raise _damaged(where, "its digest does not match its content")
        _check_schema(data, where)
        promotions = tuple(dict(entry) for entry in body.get("promotions", ()))
        manifest = cls(body["spec"], _models(body["models"]), _files(body["files"]), body["tools"], promotions)
        if manifest.to_bytes() != data:
            raise _damaged(where, "it is not in the form that tfbundle writes")
        return manifest

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a bundle.json from disk.

        Raises:
            VerifyError: the file does not exist, cannot be read, is a symbolic link or too large, or is damaged.
        """
        if path.is_symlink():
            raise VerifyError(
                f"{path} is a symbolic link ({str(path.readlink())!a}), which tfbundle does not follow.",
                fix="put the file itself in its place",
                code="TFB5003",
            )
        try:
            with open_regular(path) as file:
                data = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise VerifyError(
                f"{path.parent} is not a bundle: it has no {path.name}.",
                fix="give the folder that tfbundle build wrote",
                code="TFB5101",
            ) from exc
        except OSError as exc:
            raise VerifyError(f"{path} cannot be read: {exc.strerror}.", code="TFB5102") from exc
        if len(data) > MAX_BYTES:
            raise VerifyError(
                f"{path} is larger than {MAX_BYTES >> 20} MiB, the most that tfbundle reads.", code="TFB5102"
            )
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


def finite(value: Any) -> Any:
    """Replace non-finite floats, which JSON does not have, by "inf", "-inf" or "nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        body = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_float=_finite_float, parse_constant=_no_constant
        )
    except ValueError as exc:
        raise _damaged(where, f"it is not JSON ({exc})") from exc
    except RecursionError as exc:
        raise _damaged(where, _TOO_DEEP) from exc
    if not isinstance(body, dict):
        raise _damaged(where, "it is not a JSON object")
    if _is_deeper(body, MAX_DEPTH):
        raise _damaged(where, _TOO_DEEP)
    schema = body.get("schema")
    if schema != SCHEMA:
        raise VerifyError(
            f"{where} has the schema {_shown(schema)}; this tfbundle reads {SCHEMA!r}.",
            fix="build it again, or use the tfbundle that wrote it",
            code="TFB5103",
        )
    return body


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if any(len(name) > _LONGEST_KEY for name in content):
        raise ValueError(f"a key is longer than {_LONGEST_KEY} characters")
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_shown(twice)} occurs twice")
    return content


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _is_deeper(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth == 0 or any(_is_deeper(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth == 0 or any(_is_deeper(item, depth - 1) for item in value)
    return False


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _check_schema(data: bytes, where: str) -> None:
    from bundler.bundle.schema import check_content  # pydantic builds the schema on import, which --help does not need

    try:
        check_content(data)
    except ValueError as exc:
        raise _damaged(where, str(exc)) from exc


def _models(data: Mapping[str, Any]) -> dict[str, dict[int, Record]]:
    return {
        name: {int(number): record for number, record in entry["versions"].items()} for name, entry in data.items()
    }


def _files(data: Mapping[str, Any]) -> dict[str, FileEntry]:
    return {path: FileEntry(entry["size"], entry["sha256"]) for path, entry in data.items()}


def _damaged(where: str, how: str) -> VerifyError:
    return VerifyError(
        f"{where} is damaged: {how}.",
        fix="fetch the bundle again, or build it again; do not edit bundle.json by hand",
        code="TFB5102",
    )
