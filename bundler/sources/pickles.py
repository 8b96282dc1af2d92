"""Reads files of torch.save without running code from them.

A pickle can call any function while it is read. torch.load(weights_only=True) accepts only tensors and plain containers;
everything else is rejected here unless the user passes --trust-pickle.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from bundler.errors import SourceError
from bundler.sources.user_code import first_line

_TRUST = "if you made this file yourself, add --trust-pickle"
_DAMAGE_ERRORS = (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, ValueError, IndexError, AttributeError)


def load_torch(path: Path, *, trust: bool) -> Any:
    """Return what torch.save wrote, on the CPU.

    Args:
        path: the file.
        trust: whether to unpickle content that can run code.

    Raises:
        SourceError: the file would run code and is not trusted, or is damaged.
    """
    try:
        return _load_tensors(path)
    except pickle.UnpicklingError as exc:
        if not _is_unsafe(exc):
            raise _damaged(path, exc) from exc
        if not trust:
            raise _unsafe(path, exc) from exc
    except _DAMAGE_ERRORS as exc:
        raise _damaged(path, exc) from exc
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, ImportError, TypeError, *_DAMAGE_ERRORS) as exc:
        raise SourceError(
            f"{path.name} cannot be unpickled: {exc}.",
            where=str(path),
            fix="save the module's state_dict() instead, or make the code that the pickled module needs importable",
            code="TFB2106",
        ) from exc


def check_exported_program(path: Path, *, trust: bool) -> None:
    """Raise if a .pt2 archive contains pickles that would run code; torch.export.load unpickles them unconditionally.

    torch unpickles sample inputs, weights and constants marked `use_pickle`, opaque objects, and every .pt member of archives
    before torch 2.8; AOTInductor members are machine code (torch/export/pt2_archive/_package.py).

    Args:
        path: the archive.
        trust: whether to accept members that can run code.

    Raises:
        SourceError: such a member exists and the file is not trusted, or the file is not a .pt2 archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = _pickled_members(archive, names)
            payloads = {name: archive.read(name) for name in pickled}
    except (*_DAMAGE_ERRORS, json.JSONDecodeError) as exc:
        raise _damaged(path, exc) from exc
    if not any(PurePosixPath(n).name in ("archive_format", "serialized_exported_program.json") for n in names):
        raise SourceError(
            f"{path.name} is damaged, or is not a .pt2 file of torch.export.save.",
            where=str(path),
            fix="save or copy it again",
            code="TFB2104",
        )
    if trust:
        return
    code = [n for n in names if "/aotinductor/" in n or PurePosixPath(n).name.startswith("opaque_obj_")]
    if code:
        raise _unsafe(path, "it is code", member=code[0])
    for name, data in payloads.items():
        try:
            _load_tensors(io.BytesIO(data))
        except (pickle.UnpicklingError, *_DAMAGE_ERRORS) as exc:
            raise _unsafe(path, exc, member=name) from exc


def _load_tensors(file: Path | io.BytesIO) -> Any:
    """Load tensors and plain containers, without torch's advice on pickle protocols."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _pickled_members(archive: zipfile.ZipFile, names: list[str]) -> list[str]:
    pickled = [n for n in names if n.endswith(".pt")]
    for config in (n for n in names if n.endswith(("_weights_config.json", "_constants_config.json"))):
        for payload in json.loads(archive.read(config))["config"].values():
            if payload.get("use_pickle"):
                member = str(PurePosixPath(config).parent / payload["path_name"])
                if member in names and not payload["path_name"].startswith(("custom_obj_", "opaque_obj_")):
                    pickled.append(member)
    return [n for n in dict.fromkeys(pickled) if archive.getinfo(n).file_size > 0]


def _is_unsafe(exc: Exception) -> bool:
    return "Weights only load failed" in str(exc) or "WeightsUnpickler" in str(exc)


def _unsafe(path: Path, reason: object, *, member: str | None = None) -> SourceError:
    detail = next((line.strip() for line in str(reason).splitlines() if "GLOBAL" in line or "global" in line), "")
    detail = detail or next((line.strip() for line in str(reason).splitlines() if line.strip()), "")
    detail = detail.removeprefix("WeightsUnpickler error: ").partition(". ")[0]
    return SourceError(
        f"{path.name}{f' (in {member})' if member else ''} contains more than tensors, and reading it could run any "
        f"code: {detail[:200].rstrip('.')}.",
        where=str(path),
        fix=f"save module.state_dict() instead, preferably as .safetensors; {_TRUST}",
        code="TFB2105",
    )


def _damaged(path: Path, exc: Exception) -> SourceError:
    return SourceError(
        f"{path.name} is damaged, or was not written by torch: {first_line(exc)[:200].partition('. ')[0].rstrip('.')}.",
        where=str(path),
        fix="save or copy it again",
        code="TFB2104",
    )
