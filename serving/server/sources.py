"""Which versions are to be served: the version folders on disk and the policy that chooses among them.

The rules are those of sources/storage_path/file_system_storage_path_source.cc, but for two that protect what is served:
a model whose base path is away does not keep the others from being looked at, and a base path that has lost all of its
versions does not unload the last one.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.protocol.status import StatusError, invalid_argument

log = logging.getLogger(__name__)

_INT64 = re.compile(r"\s*(?P<sign>[+-]?)0*(?P<digits>[0-9]{1,19})\s*")
_URI = re.compile(r"(?P<scheme>[a-zA-Z][0-9a-zA-Z.]*)://[^/]*(?P<path>.*)", re.DOTALL)
"""A base path with a scheme (ParseURI of tensorflow/core/platform/path.cc)."""


@dataclass(frozen=True)
class ServableSource:
    """A model to look after.

    Attributes:
        base_path: an absolute path or a URI.
        policy: a FileSystemStoragePathSourceConfig.ServableVersionPolicy message.
    """

    name: str
    base_path: str
    policy: Any

    @property
    def folder(self) -> Path:
        """The base path on this machine; `file://` and a host are left out.

        Raises:
            StatusError: INVALID_ARGUMENT: it is not there, or a URI of another scheme: the real server has file systems for
                some of them, here only local folders are read.
        """
        uri = _URI.fullmatch(self.base_path)
        if uri and uri["scheme"] != "file":
            raise self._missing(
                f"UNIMPLEMENTED: File system scheme '{uri['scheme']}' not implemented (file: '{self.base_path}'); "
                "this server reads local folders only"
            )
        folder = Path(uri["path"] if uri else self.base_path)
        if not folder.is_absolute() or not folder.exists():
            raise self._missing(f"NOT_FOUND: {self.base_path} not found")
        return folder

    @property
    def asks_for_none(self) -> bool:
        """Whether the policy is a list of versions without any."""
        return self.policy.WhichOneof("policy_choice") == "specific" and not self.policy.specific.versions

    def _missing(self, error: str) -> StatusError:
        return invalid_argument(f"Could not find base path {self.base_path} for servable {self.name} with error {error}")


def is_absolute(base_path: str) -> bool:
    """Whether a model's base path is an absolute path or a URI, of whatever scheme (model_servers/server_core.cc)."""
    return base_path.startswith("/") or _URI.fullmatch(base_path) is not None


def parse_version(text: str) -> int | None:
    """The version a folder's name stands for, or None: any int64, `007` is 7 and `-3` is one too."""
    found = _INT64.fullmatch(text) if text.isascii() else None
    if found is None:
        return None
    version = int(found["sign"] + found["digits"])
    return version if -(2**63) <= version < 2**63 else None


def find_versions(source: ServableSource) -> dict[int, str] | None:
    """Version -> its folder, as the policy wants them; None if there is nothing on disk to choose from.

    Raises:
        StatusError: INVALID_ARGUMENT: the base path is not there.
    """
    base = source.folder
    if source.asks_for_none:
        log.warning("%s", no_versions(source))
        return {}
    there = _folders(base)
    chosen = _choose(source, there)
    if not chosen:
        log.warning("%s", no_versions(source))
        return None
    return chosen


def no_versions(source: ServableSource) -> str:
    """Why there is no version to serve."""
    if source.asks_for_none:
        return f"No specific versions requested for servable {source.name}."
    return (
        f"No versions of servable {source.name} found under base path {source.base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


def _folders(base: Path) -> dict[int, str]:
    there: dict[int, str] = {}
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        version = parse_version(path.name)
        if version is None:
            continue
        if version in there:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version, path.name, Path(there[version]).name,
            )  # fmt: skip
        there[version] = str(path)
    return there


def _choose(source: ServableSource, there: dict[int, str]) -> dict[int, str]:
    choice = source.policy.WhichOneof("policy_choice")
    if choice == "all":
        return there
    if choice == "specific":
        wanted = set(source.policy.specific.versions)
        for version in sorted(wanted - there.keys()):
            log.warning(
                "Version %d of servable %s, which was requested to be served as a 'specific' version in the "
                "servable's version policy, was not found in the file system",
                version, source.name,
            )  # fmt: skip
        return {version: path for version, path in there.items() if version in wanted}
    count = max(source.policy.latest.num_versions, 1)
    return {version: there[version] for version in sorted(there)[-count:]}


class FileSystemSource:
    """Looks at the file system every now and then and tells which versions are wanted.

    Args:
        aspire: called with a model's name and its wanted versions (version -> folder).
        seconds: between two looks; 0 looks once, a negative number never.
    """

    def __init__(self, aspire: Callable[[str, dict[int, str]], None], seconds: float) -> None:
        self._aspire = aspire
        self._seconds = seconds
        self._sources: dict[str, ServableSource] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def names(self) -> set[str]:
        with self._lock:
            return set(self._sources)

    def update(self, sources: dict[str, ServableSource]) -> None:
        """Look after these models from the next look on; those no longer among them lose all their versions now."""
        with self._lock:
            gone = self._sources.keys() - sources.keys()
            self._sources = dict(sources)
            for name in gone:
                self._aspire(name, {})

    def start(self) -> None:
        if self._seconds >= 0:
            self._thread = threading.Thread(target=self._run, name="version-source", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.poll()
            if not self._seconds:
                return
            self._stop.wait(self._seconds)

    def poll(self) -> None:
        """Look once."""
        with self._lock:
            for source in self._sources.values():
                found = _find_or_log(source)
                if found is not None:
                    self._aspire(source.name, found)


def _find_or_log(source: ServableSource) -> dict[int, str] | None:
    try:
        return find_versions(source)
    except StatusError as exc:
        log.warning("FileSystemStoragePathSource encountered a filesystem access error: %s", exc.message)
    except OSError as exc:
        log.warning("The base path %s of servable %s cannot be read: %s", source.base_path, source.name, exc)
    return None
