"""The bill of materials and the provenance of a bundle as files: written, and checked against bundle.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import Manifest
from bundler.delivery.supply_chain import bom, provenance
from bundler.errors import VerifyError
from serving.regular_file import read_regular

_LIMIT = 64 << 20


def render(layout: BundleLayout, manifest: Manifest) -> dict[Path, bytes]:
    """Return the content of each paper of a bundle, by its path."""
    papers = {layout.bom: bom.render(manifest)}
    for model in sorted(manifest.models):
        for version in manifest.versions(model):
            papers[layout.provenance_file(model, version)] = provenance.render(manifest, model, version)
    return papers


def check(layout: BundleLayout, manifest: Manifest) -> None:
    """Check that the papers of a bundle speak of its files, and of nothing else.

    Raises:
        VerifyError: a paper is missing or damaged, or names another digest than bundle.json does.
    """
    digests = {path: entry.sha256 for path, entry in manifest.files.items()}
    whole = digests | {layout.manifest.name: hashlib.sha256(manifest.to_bytes()).hexdigest()}
    _check(layout.bom, "bill of materials", dict(_bom_hashes(layout.bom)), whole)
    for model in manifest.models:
        for version in manifest.versions(model):
            path = layout.provenance_file(model, version)
            own = {name: digest for name, digest in digests.items() if version_of(name) == (model, version)}
            _check(path, f"provenance of {model} version {version}", _subjects(path), own)


def _bom_hashes(path: Path) -> Iterator[tuple[str, str]]:
    try:
        yield from bom.hashes_of(_read(path, "bill of materials"))
    except ValueError as exc:
        raise _damaged(path, "bill of materials", str(exc)) from exc


def _subjects(path: Path) -> dict[str, str]:
    try:
        return provenance.subjects_of(_read(path, "provenance"))
    except ValueError as exc:
        raise _damaged(path, "provenance", str(exc)) from exc


def _read(path: Path, what: str) -> Mapping[str, object]:
    try:
        document = json.loads(read_regular(path, _LIMIT))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise VerifyError(
            f"The bundle has no {what}.",
            where=str(path),
            fix="sign the bundle, which writes it, or fetch it again",
            code="TFB9210",
        ) from exc
    except OSError as exc:
        raise _damaged(path, what, f"it cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise _damaged(path, what, f"it is not JSON ({exc})") from exc
    if not isinstance(document, dict):
        raise _damaged(path, what, "it is not a JSON object")
    return document


def _damaged(path: Path, what: str, how: str) -> VerifyError:
    return VerifyError(
        f"The {what} is damaged: {how}.",
        where=str(path),
        fix="fetch it again, or sign the bundle, which writes it again",
        code="TFB9210",
    )


def _check(path: Path, what: str, claimed: Mapping[str, str], actual: Mapping[str, str]) -> None:
    for name in sorted({*claimed, *actual}):
        if claimed.get(name) == actual.get(name):
            continue
        if name not in claimed:
            how = f"it does not name {name}"
        elif name not in actual:
            how = f"it names {name}, which the bundle does not have"
        else:
            how = f"it names sha256 {claimed[name][:12]}… of {name}, which is {actual[name][:12]}…"
        raise VerifyError(
            f"The {what} is not of this bundle: {how}.",
            where=str(path),
            fix="fetch it together with the bundle; after a build, promotion or rendering, sign the bundle again",
            code="TFB9210",
        )
