"""The files of a bundle as model_signing hashes them. Importing this module imports model_signing, which takes a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from model_signing import hashing, manifest


class SignedFiles(hashing.Config):
    """A hashing configuration of model_signing for a list of files instead of a whole folder.

    Every file is hashed once, by sha256 over the whole file, as bundle.json has it, several files at a time. What was hashed
    stays in `digests`, so that nothing else has to read the files again.

    Args:
        paths: the files, relative to the folder that is signed.
        unsigned: files of the folder that a signature never covers; the signature names them, so that `model_signing verify` of
            the whole folder leaves them out as well.
        before: called before the files are hashed. A verifier does that after the signature itself has proved genuine.
    """

    def __init__(self, paths: Sequence[str], unsigned: Sequence[str], before: Callable[[], None] = lambda: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.digests: dict[str, str] = {}
        self._paths = tuple(paths)
        self._before = before
        self.set_ignored_paths(paths=unsigned, ignore_git_paths=False)

    def hash(self, model_path: Any, *, files_to_hash: Iterable[Any] | None = None) -> manifest.Manifest:
        """Return model_signing's manifest of the files, and keep their digests."""
        self._before()
        found = super().hash(model_path, files_to_hash=[Path(model_path) / path for path in self._paths])
        self.digests = {item.identifier: item.digest.digest_hex for item in found.resource_descriptors()}
        return found

    def add_ignored_paths(self, *, model_path: Any, paths: Iterable[Any]) -> None:
        """Do nothing: which files are hashed is not for a signature to say."""
