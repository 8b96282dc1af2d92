"""Files of torch.save, read without running what is in them.

A pickle can call any function while it is read. torch.load(weights_only=True) takes tensors and plain containers only;
everything else is refused here unless the user says --trust-pickle.
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
_BROKEN = (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, ValueError, IndexError, AttributeError)


def load_torch(path: Path, *, trust: bool) -> Any:
    """What torch.save wrote, on the CPU.

    Raises:
        SourceError: the file would run code and is not trusted, or it is damaged.
    """
    try:
        return _load_tensors(path)
    except pickle.UnpicklingError as exc:
        if not _is_unsafe(exc):
            raise _damaged(path, exc) from exc
        if not trust:
            raise _refused(path, exc) from exc
    except _BROKEN as exc:
        raise _damaged(path, exc) from exc
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, ImportError, TypeError, *_BROKEN) as exc:
        raise SourceError(
            f"{path.name} cannot be unpickled: {exc}.",
            where=str(path),
            fix="a pickled module needs the code it was made from importable; better save its state_dict()",
        ) from exc


def check_exported_program(path: Path, *, trust: bool) -> None:
    """Refuse a .pt2 archive that holds pickles that would run code: torch.export.load reads them without asking.

    What torch unpickles (torch/export/pt2_archive/_package.py): sample inputs, weights and constants marked
    `use_pickle`, opaque objects, and in archives before torch 2.8 every .pt member; AOTInductor members are
    machine code.

    Raises:
        SourceError: such a member is there and the file is not trusted, or this is no .pt2 archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = _pickled_members(archive, names)
            payloads = {name: archive.read(name) for name in pickled}
    except (*_BROKEN, json.JSONDecodeError) as exc:
        raise _damaged(path, exc) from exc
    if not any(PurePosixPath(n).name in ("archive_format", "serialized_exported_program.json") for n in names):
        raise SourceError(
            f"{path.name} is damaged or no .pt2 file of torch.export.save.",
            where=str(path),
            fix="save or copy it again",
        )
    if trust:
        return
    code = [n for n in names if "/aotinductor/" in n or PurePosixPath(n).name.startswith("opaque_obj_")]
    if code:
        raise _refused(path, "it is code", member=code[0])
    for name, data in payloads.items():
        try:
            _load_tensors(io.BytesIO(data))
        except (pickle.UnpicklingError, *_BROKEN) as exc:
            raise _refused(path, exc, member=name) from exc


def _load_tensors(file: Path | io.BytesIO) -> Any:
    """torch.load of tensors and plain containers; its advice on pickle protocols is not for tfbundle's users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _pickled_members(archive: zipfile.ZipFile, names: list[str]) -> list[str]:
    found = [n for n in names if n.endswith(".pt")]
    for config in (n for n in names if n.endswith(("_weights_config.json", "_constants_config.json"))):
        for payload in json.loads(archive.read(config))["config"].values():
            if payload.get("use_pickle"):
                member = str(PurePosixPath(config).parent / payload["path_name"])
                if member in names and not payload["path_name"].startswith(("custom_obj_", "opaque_obj_")):
                    found.append(member)
    return [n for n in dict.fromkeys(found) if archive.getinfo(n).file_size > 0]


def _is_unsafe(exc: Exception) -> bool:
    return "Weights only load failed" in str(exc) or "WeightsUnpickler" in str(exc)


def _refused(path: Path, reason: object, *, member: str | None = None) -> SourceError:
    detail = next((line.strip() for line in str(reason).splitlines() if "GLOBAL" in line or "global" in line), "")
    detail = detail or next((line.strip() for line in str(reason).splitlines() if line.strip()), "")
    detail = detail.removeprefix("WeightsUnpickler error: ").partition(". ")[0]
    return SourceError(
        f"{path.name}{f' (in {member})' if member else ''} holds more than tensors, and reading it could run any "
        f"code: {detail[:200].rstrip('.')}.",
        where=str(path),
        fix=f"save module.state_dict() (best as .safetensors) instead; {_TRUST}",
    )


def _damaged(path: Path, exc: Exception) -> SourceError:
    return SourceError(
        f"{path.name} is damaged or no file of torch.save: {first_line(exc)[:200].partition('. ')[0].rstrip('.')}.",
        where=str(path),
        fix="save or copy it again",
    )
