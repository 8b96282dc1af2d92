"""What runs on the nodes with tfbundle: it unpacks the sources, builds a unit, and yields its progress and its entry."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bundler.bundle.manifest import files_under
from bundler.errors import PublishError, TfbundleError
from bundler.many import failures
from bundler.many.cache import Cache
from bundler.many.cluster.parcels import pack, unpack
from bundler.many.units import VARIABLES, Unit, build_unit, tools
from bundler.process.environment import without_packages_of_ray
from serving.imports import leave_keras_out
from serving.quiet import quiet_tensorflow

Message = tuple[str, Any]
"""What a task yields, as bundler.many.cluster.courier lists it."""

KEPT_S = 86_400
"""How long the sources of a build are kept on a node after they were last used."""

_SHOWN = 3
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def examine(units: Sequence[Mapping[str, Any]], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return `unfit`, why this node cannot build, or an empty text; and `requests`, the request of each unit on this machine."""
    _set_variables(expected["variables"])
    with without_packages_of_ray():
        return _examined(units, expected["tools"])


def _examined(units: Sequence[Mapping[str, Any]], expected: Mapping[str, str]) -> dict[str, Any]:
    reason = difference(expected, tools())
    return {"unfit": reason, "requests": [] if reason else [Unit(**unit).request() for unit in units]}


def difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return in words how the tools of this machine differ from the expected ones; an empty text if they do not."""
    names = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    if not names:
        return ""
    own = "files of tfbundle"
    if names == [own]:
        return f"its tfbundle {found.get('tfbundle')} has other files than the one here, as of another commit"
    named = [name for name in names if name != own]
    shown = [f"{name} {found.get(name, 'is missing')} (here {expected.get(name, 'missing')})" for name in named[:_SHOWN]]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"other versions are installed there: {', '.join(shown)}{more}"


def build(unit: Mapping[str, Any], parcel: str, chunks: Iterable[bytes], expected: Mapping[str, Any]) -> Iterator[Message]:
    """Build a unit, and yield messages.

    Args:
        unit: the fields of a `Unit`.
        parcel: digest of its sources.
        chunks: the sources, as an archive; they are read only if this node does not have them yet.
        expected: `tools` of the machine that asks, and its environment's `variables` (`bundler.many.units`).
    """
    _set_variables(expected["variables"])
    _prepare()
    with without_packages_of_ray():
        reason = difference(expected["tools"], tools())
        if reason:
            yield "unfit", reason
            return
        yield from _unpacked_and_built(unit, parcel, chunks)


def _unpacked_and_built(unit: Mapping[str, Any], parcel: str, chunks: Iterable[bytes]) -> Iterator[Message]:
    try:
        base = unpacked(parcel, chunks, folder_of_user())
        with tempfile.TemporaryDirectory(prefix="build-", dir=folder_of_user()) as folder, _working_in(base):
            yield from _built(replace(Unit(**unit), base=str(base)), Cache(Path(folder)))
    except (TfbundleError, OSError) as exc:
        yield "failed", failures.to_json(exc)


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Return a context in which relative paths that the user's code opens start from a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _set_variables(variables: Mapping[str, str]) -> None:
    """Set the variables that change what is built as they are on the machine that asks."""
    for name in VARIABLES:
        if name in variables:
            os.environ[name] = variables[name]
        else:
            os.environ.pop(name, None)


def _prepare() -> None:
    """Prepare the process like bundler.many.worker, before anything imports TensorFlow."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")  # Ray sets it to the CPUs of the task
    for name in _THREADS:
        os.environ.setdefault(name, threads)
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    warnings.filterwarnings("ignore")
    leave_keras_out()
    quiet_tensorflow()


def _built(unit: Unit, cache: Cache) -> Iterator[Message]:
    """Build in a thread, as the stages are told while it works; then yield the entry."""
    told: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    results: list[Message] = []

    def work() -> None:
        try:
            entry = build_unit(unit, cache, lambda event: told.put(("stage", asdict(event))))
            results.append(("entry", entry))
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - whoever asked gets every error, and tells it for this unit
            results.append(("failed", failures.to_json(exc)))
        finally:
            told.put(None)

    threading.Thread(target=work, daemon=True).start()
    while (message := told.get()) is not None:
        yield message
    kind, entry = results[0]
    if kind == "failed":
        yield kind, entry
        return
    for chunk in pack((path.relative_to(entry.folder).as_posix(), path) for path in files_under(entry.folder)):
        yield "chunk", chunk
    request = unit.request()
    yield "built", {"key": entry.key, "request": request, "inputs": cache.inputs_of(request, entry.key)}


def folder_of_user() -> Path:
    """Return this user's folder for the sources and builds on this node.

    Raises:
        PublishError: it belongs to someone else, or cannot be made.
    """
    folder = Path(tempfile.gettempdir(), f"tfbundle-ray-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as exc:
        raise _no_room(folder, exc) from exc
    if status.st_uid != os.getuid() or folder.is_symlink() or status.st_mode & 0o022:
        raise _no_room(folder, PermissionError(0, "it belongs to another user, or others may write to it"))
    return folder


def unpacked(parcel: str, chunks: Iterable[bytes], root: Path) -> Path:
    """Return the folder with the sources of a parcel; unpack them first if this node does not have them.

    Raises:
        PublishError: there is no room for them.
    """
    folder = root / f"sources-{parcel}"
    try:
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                with tempfile.TemporaryDirectory(prefix="draft-", dir=root) as draft:
                    content = Path(draft, "content")
                    content.mkdir()
                    unpack(chunks, content)
                    content.rename(folder)
            os.utime(folder)
        _remove_old(root)
    except OSError as exc:
        raise _no_room(folder, exc) from exc
    return folder


def _remove_old(root: Path) -> None:
    """Remove what builds of former days have left, as those that were killed have."""
    import shutil

    for folder in root.iterdir():
        with suppress(FileNotFoundError, Timeout):
            if not folder.is_dir() or time.time() - folder.stat().st_mtime < KEPT_S:
                continue
            with FileLock(f"{folder}.lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def _no_room(folder: Path, exc: OSError) -> PublishError:
    import socket

    return PublishError(
        f"The node {socket.gethostname()} cannot keep the sources in {folder}: {exc.strerror or exc}.",
        fix="free space there, or start Ray on it with TMPDIR set to a folder that has some",
        code="TFB5256",
    )
