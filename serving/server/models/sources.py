"""Which versions should be served: the version folders on disk, and the policy that chooses among them.

The rules are those of sources/storage_path/file_system_storage_path_source.cc. A model whose base path has no version any more
is unloaded, unless the server was started with --servable_versions_always_present; a model whose base path is missing or cannot
be read keeps its versions. One difference protects the other models: the real server scans none of them while one base path is
missing. Version folders may be symbolic links, also out of the base path.
"""

from __future__ import annotations

import errno
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.protocol.status import StatusError, invalid_argument, not_found
from serving.server.config.files import unreadable

log = logging.getLogger(__name__)

_JOIN_SECONDS = 2.0
"""How long a stop waits for a scan: one on a network file system that has gone may never end."""

_INT64 = re.compile(r"\s*(?P<sign>[+-]?)0*(?P<digits>[0-9]{1,19})\s*")
_URI = re.compile(r"(?P<scheme>[a-zA-Z][0-9a-zA-Z.]*)://[^/]*(?P<path>.*)", re.DOTALL)
"""A base path with a scheme (ParseURI of tensorflow/core/platform/path.cc)."""


@dataclass(frozen=True)
class ServableSource:
    """A model with its base path and version policy.

    Attributes:
        name: the model's name.
        base_path: an absolute path or a URI.
        policy: a FileSystemStoragePathSourceConfig.ServableVersionPolicy message.
    """

    name: str
    base_path: str
    policy: Any

    @property
    def folder(self) -> Path:
        """The base path on this machine, without `file://` and a host.

        Raises:
            StatusError: INVALID_ARGUMENT: it does not exist, or its URI has another scheme. The real server has file systems
                for some schemes; here only local folders are supported.
        """
        folder = local_folder(self.base_path)
        if folder is None:
            scheme = self.base_path.partition(":")[0]
            raise self._missing(
                f"UNIMPLEMENTED: File system scheme '{scheme}' not implemented (file: '{self.base_path}'); "
                "this server reads local folders only"
            )
        if not folder.is_absolute() or not _exists(folder):
            raise self._missing(f"NOT_FOUND: {self.base_path} not found")
        return folder

    @property
    def asks_for_none(self) -> bool:
        """Whether the policy is an empty list of versions."""
        return self.policy.WhichOneof("policy_choice") == "specific" and not self.policy.specific.versions

    def _missing(self, error: str) -> StatusError:
        return invalid_argument(f"Could not find base path {self.base_path} for servable {self.name} with error {error}")


def local_folder(base_path: str) -> Path | None:
    """Return a base path without `file://` and a host; None for a URI of another scheme."""
    uri = _URI.fullmatch(base_path)
    if uri and uri["scheme"] != "file":
        return None
    return Path(uri["path"] if uri else base_path)


def _exists(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # e.g. a folder on the way may not be searched
        return False


def is_absolute(base_path: str) -> bool:
    """Return whether a base path is an absolute path or a URI of any scheme (model_servers/server_core.cc)."""
    return base_path.startswith("/") or _URI.fullmatch(base_path) is not None


def parse_version(text: str) -> int | None:
    """Return the version number that a folder's name stands for: any int64, so `007` is 7 and `-3` is -3; else None."""
    match = _INT64.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    version = int(match["sign"] + match["digits"])
    return version if -(2**63) <= version < 2**63 else None


def find_versions(source: ServableSource) -> dict[int, str]:
    """Return the versions that the policy chooses among those on disk: version -> folder.

    Raises:
        StatusError: the base path does not exist, or cannot be read.
    """
    base_path = source.folder
    try:
        chosen = {} if source.asks_for_none else _choose(source, _version_folders(base_path))
    except OSError as exc:
        raise unreadable(source.base_path, exc.errno or errno.EIO) from exc
    if not chosen:
        log.warning("%s", no_versions(source))
    return chosen


def no_versions(source: ServableSource) -> str:
    """Return the real server's message for a model without a version to serve."""
    if source.asks_for_none:
        return f"No specific versions requested for servable {source.name}."
    return (
        f"No versions of servable {source.name} found under base path {source.base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


def _version_folders(base_path: Path) -> dict[int, str]:
    folders: dict[int, str] = {}
    for path in sorted(base_path.iterdir()):
        version = parse_version(path.name)
        if version is None:
            continue
        if version in folders:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version, path.name, Path(folders[version]).name,
            )  # fmt: skip
        folders[version] = str(path)
    return folders


def _choose(source: ServableSource, folders: dict[int, str]) -> dict[int, str]:
    choice = source.policy.WhichOneof("policy_choice")
    if choice == "all":
        return folders
    if choice == "specific":
        requested = set(source.policy.specific.versions)
        for version in sorted(requested - folders.keys()):
            log.warning(
                "Version %d of servable %s, which was requested to be served as a 'specific' version in the "
                "servable's version policy, was not found in the file system",
                version, source.name,
            )  # fmt: skip
        return {version: path for version, path in folders.items() if version in requested}
    count = max(source.policy.latest.num_versions, 1)
    return {version: folders[version] for version in sorted(folders)[-count:]}


class FileSystemSource:
    """Scans the base paths at intervals and reports which versions should be served.

    Args:
        aspire: called with a model's name and the versions to serve (version -> folder).
        seconds: time between two scans; 0 scans once, a negative number never.
        always_present: FileSystemStoragePathSourceConfig.servable_versions_always_present: a model must have a version when it
            is added, and keeps its versions when its base path has none any more.
    """

    def __init__(
        self, aspire: Callable[[str, dict[int, str]], None], seconds: float, *, always_present: bool = False
    ) -> None:
        self._aspire = aspire
        self._always_present = always_present
        self._seconds = seconds
        self._sources: dict[str, ServableSource] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def names(self) -> set[str]:
        """Names of the models."""
        with self._lock:
            return set(self._sources)

    def update(self, sources: dict[str, ServableSource]) -> None:
        """Replace the models. New models count from the next scan on; removed models lose their versions at once.

        Raises:
            StatusError: with `always_present`: a model has no version; nothing is replaced.
        """
        if self._always_present:
            for source in sources.values():
                _check_present(source)
        with self._lock:
            removed = self._sources.keys() - sources.keys()
            self._sources = dict(sources)
            for name in removed:
                self._aspire(name, {})

    def start(self) -> None:
        """Begin to scan."""
        if self._seconds >= 0:
            self._thread = threading.Thread(target=self._run, name="version-source", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the scans."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.poll()
            if not self._seconds:
                return
            self._stop.wait(self._seconds)

    def poll(self) -> None:
        """Scan once."""
        with self._lock:
            for source in self._sources.values():
                versions = _find_or_log(source)
                if versions == {} and self._always_present:
                    log.error("Refusing to unload all versions for Servable: %s", source.name)
                elif versions is not None:
                    self._aspire(source.name, versions)


def _check_present(source: ServableSource) -> None:
    if not find_versions(source):
        raise not_found(f"Unable to find a numerical version path for servable {source.name} at: {source.base_path}")


def _find_or_log(source: ServableSource) -> dict[int, str] | None:
    try:
        return find_versions(source)
    except StatusError as exc:
        log.warning("FileSystemStoragePathSource encountered a filesystem access error: %s", exc.message)
    return None
