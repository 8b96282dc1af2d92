"""Writes the setting that `tfbundle bench --advise` found into the section `serving` of a bundle.yaml."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from bundler.errors import PublishError, SpecError
from bundler.spec.bundle_spec import BundleSpec, parse_spec, read_spec
from bundler.spec.server_flags import Value
from bundler.spec.yaml_edit import edit_yaml
from bundler.spec.yaml_file import parse_yaml, read_yaml_text
from serving.advise.files import serving_section
from serving.advise.forms import Candidate
from serving.advise.settings import THREAD_FLAGS


def check_spec_file(path: Path) -> None:
    """Check that a bundle.yaml is valid and can be replaced, before a search that takes minutes.

    Raises:
        SpecError: it does not exist or is not a valid bundle.yaml.
        PublishError: it is read-only, or its folder cannot be written.
    """
    read_spec(path)
    file = path.resolve()
    if not file.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(file, os.W_OK):
        raise PublishError(f"{path} is read-only.", fix="make it writable, or leave out --update-spec", code="TFB5001")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        fix = "make it writable, or leave out --update-spec"
        raise PublishError(
            f"The folder of {path} is read-only, so the file cannot be replaced.", fix=fix, code="TFB5001"
        )


def update_spec(path: Path, best: Candidate) -> bool:
    """Write a form and its settings into the section `serving` of a bundle.yaml; all other lines and keys stay as they are.

    The flags and the form of earlier advice that are not in this one are removed. The file is replaced as a whole or not at
    all; a symbolic link stays, and the file that it leads to is replaced.

    Args:
        path: the bundle.yaml.
        best: the form and the setting to write.

    Returns:
        Whether the file changed.

    Raises:
        SpecError: the file is not a valid bundle.yaml, would not be one with the setting, or cannot be changed in place.
        PublishError: the file cannot be written.
    """
    text = read_yaml_text(path)
    spec = parse_spec(parse_yaml(text, path), where=str(path))
    edited = edit_yaml(text, _changes(spec, best), where=str(path))
    _check(edited, path)
    if edited != text:
        _replace(path, edited)
    return edited != text


def _changes(spec: BundleSpec, best: Candidate) -> dict[tuple[str, ...], Value | None]:
    changes: dict[tuple[str, ...], Value | None] = {}
    section = serving_section(best)
    for key in ("batching", "fast_path"):
        if key not in section and getattr(spec.serving, key):
            changes["serving", key] = False
    if "mixed_precision" not in section and spec.serving.mixed_precision:
        changes["serving", "mixed_precision"] = None
    for key, value in section.items():
        if isinstance(value, dict):
            changes |= {("serving", key, flag): number for flag, number in value.items()}
        elif value != getattr(spec.serving, key) or key != "clients":
            changes["serving", key] = value
    unused = (flag for flag in THREAD_FLAGS if flag in spec.serving.flags and flag not in best.setting.thread_flags)
    return changes | {("serving", "flags", flag): None for flag in unused}


def contradictions(path: Path, best: Candidate, name: str) -> list[str]:
    """Return what else has to change in a bundle.yaml: keys of the model that win over the section `serving`.

    Raises:
        SpecError: the file is not a valid bundle.yaml.
    """
    found = []
    for model in (each for each in read_spec(path).models if each.name == name):
        if model.fast_path is not None and bool(model.fast_path) != best.form.is_tflite:
            found.append(f"{path}: {model.name} has fast_path: {str(model.fast_path).lower()}, which wins; remove that line.")
        if not best.form.is_tflite and model.precision != best.form.precision:
            found.append(f"{path}: {model.name} has precision: {model.precision}; set precision: {best.form.precision}.")
    return found


def _check(text: str, path: Path) -> None:
    try:
        parse_spec(parse_yaml(text, path), where=str(path))
    except SpecError as exc:
        raise SpecError(
            f"{path} would not be valid with the best setting, so it is unchanged: {exc.what}",
            where=exc.where,
            fix="change the keys named here and run the command again, or copy the setting from the comments in server.flags",
            code="TFB1104",
        ) from exc


def _replace(path: Path, text: str) -> None:
    file = path.resolve()
    draft = None
    try:
        with tempfile.NamedTemporaryFile("wb", dir=file.parent, prefix=f".{file.name}.", delete=False) as stream:
            draft = Path(stream.name)
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(file, draft)
        draft.replace(file)
    except OSError as exc:
        fix = "make the file and its folder writable, or copy the setting from the comments in server.flags"
        raise PublishError(f"{path} cannot be written: {exc.strerror}.", fix=fix, code="TFB5001") from exc
    finally:
        if draft is not None:
            with suppress(OSError):  # it has been renamed, unless something failed
                draft.unlink()
