"""A bundle in the folder of an MLflow model: how it gets there, where it is found again, and whether it is as it was logged.

MLmodel, MLflow's description of the folder, has an entry `tfbundle` among its flavours:

    format            1; a reader that does not know the number refuses the folder
    tfbundle_version  the release that wrote it
    data              the bundle's folder, relative to that of MLmodel
    bundle_sha256     the sha256 of bundle.json, which has those of all other files
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from bundler.bundle.files import link_or_copy, own_file
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.bundle.reader import BundleReader
from bundler.bundle.staging import is_disk_full
from bundler.errors import PublishError, VerifyError
from bundler.validation.bundle import Bundle
from serving.texts import shell_command

FLAVOR = "tfbundle"
FORMAT = 1
MLMODEL = "MLmodel"
_SHOWN = 5


@dataclass(frozen=True)
class StoredBundle:
    """A bundle in the folder of an MLflow model, as MLmodel describes it.

    Attributes:
        root: the bundle's folder.
        sha256: of its bundle.json when it was logged.
        shown: the model, as messages name it.
    """

    root: Path
    sha256: str
    shown: str

    @classmethod
    def read(cls, folder: Path, shown: str) -> StoredBundle:
        """Read the entry of MLmodel.

        Args:
            folder: the folder that has MLmodel.
            shown: the model, as messages name it.

        Raises:
            VerifyError: the entry is missing, damaged, or written by a later tfbundle.
            mlflow.exceptions.MlflowException: the folder has no MLmodel.
        """
        from mlflow.models import Model

        return cls.of(Model.load(str(folder)).flavors, folder, shown)

    @classmethod
    def of(cls, flavors: Mapping[str, Any], folder: Path, shown: str) -> StoredBundle:
        """Return the bundle that MLmodel's flavours describe; arguments and errors are those of `read`."""
        if FLAVOR not in flavors:
            raise VerifyError(
                f"{shown} is an MLflow model without a bundle; its flavours are: {', '.join(flavors) or 'none'}.",
                fix="load it with mlflow.pyfunc.load_model, or log a bundle: bundler.mlflow.log_model(bundle)",
                code="TFB9401",
            )
        entry = flavors[FLAVOR]
        _check_format(entry, shown)
        data, sha256 = entry.get("data"), entry.get("bundle_sha256")
        path = PurePosixPath(data) if isinstance(data, str) else PurePosixPath()
        if not path.parts or path.is_absolute() or ".." in path.parts or not isinstance(sha256, str):
            raise VerifyError(
                f"The entry {FLAVOR!r} in the {MLMODEL} of {shown} is damaged.", fix="log the bundle again", code="TFB9401"
            )
        return cls(folder / path, sha256, shown)

    def open(self) -> Bundle:
        """Open the bundle.

        Raises:
            VerifyError: its bundle.json is missing, damaged, or not that which was logged.
        """
        bundle = Bundle.open(self.root)
        if FileEntry.of(bundle.layout.manifest).sha256 != self.sha256:
            raise self._changed(["bundle.json: another one than was logged"])
        return bundle

    def verified(self) -> Bundle:
        """Open the bundle and check all of its files, without running a model.

        Raises:
            VerifyError: a file is missing, or differs from the one that was logged.
        """
        bundle = self.open()
        problems = [str(problem) for problem in bundle.verify(parity=False, allow_unsafe_ops=True) if problem.serious]
        if problems:
            raise self._changed(problems)
        return bundle

    def _changed(self, problems: list[str]) -> VerifyError:
        return VerifyError(
            f"The bundle of {self.shown} is not the one that was logged:{listed(problems)}",
            where=str(self.root),
            fix="load it again into another folder; if that fails, too, the store has a damaged copy: log the bundle again",
            code="TFB9402",
        )


def _check_format(entry: Mapping[str, Any], shown: str) -> None:
    found, writer = entry.get("format"), entry.get("tfbundle_version")
    if found == FORMAT:
        return
    raise VerifyError(
        f"{shown} was logged by tfbundle {writer}, in the form {found!r}; this is tfbundle {version('tfbundle')}, which "
        f"reads the form {FORMAT}.",
        fix=f"pip install {shell_command(f'tfbundle[mlflow,serve]=={writer}')}",
        code="TFB9403",
    )


def entry_of(bundle: BundleReader) -> dict[str, Any]:
    """Return the entry of MLmodel for a bundle."""
    return {
        "format": FORMAT,
        "tfbundle_version": version("tfbundle"),
        "data": f"data/{bundle.name}",
        "bundle_sha256": FileEntry.of(bundle.layout.manifest).sha256,
    }


def check_loggable(bundle: Bundle, *, allow_unsafe_ops: bool) -> None:
    """Check all files of a bundle that is to be logged, without running a model.

    Raises:
        VerifyError: a file is missing, differs from what was built, or does not belong to the bundle.
    """
    problems = [
        str(problem)
        for problem in bundle.verify(parity=False, allow_unsafe_ops=allow_unsafe_ops)
        if problem.serious
    ]
    if problems:
        raise VerifyError(
            f"The bundle is not what was built, so that it is not logged:{listed(problems)}",
            where=str(bundle.path),
            fix=f"run `{shell_command('tfbundle', 'verify', bundle.path)}` for details, and build the bundle again",
            code="TFB9404",
        )


def listed(problems: list[str]) -> str:
    """Return the first problems as indented lines."""
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "".join(f"\n  {line}" for line in (*problems[:_SHOWN], *more))


def store(bundle: BundleReader, folder: Path, *, link: bool) -> int:
    """Put the files of a bundle into a new folder: those that bundle.json lists, and what signs them.

    Args:
        bundle: the bundle.
        folder: the folder to make.
        link: make hard links where possible, for a folder that nobody edits.

    Returns:
        The number of bytes.

    Raises:
        VerifyError: a file leads out of the bundle or is missing, or a command wrote to the bundle meanwhile.
        PublishError: the folder cannot be written, or the disk is full.
    """
    layout = bundle.layout
    signing = [*layout.papers(bundle.manifest.models), layout.signature]
    names = [*bundle.manifest.files, *(layout.relative(path) for path in signing if path.is_file()), layout.manifest.name]
    size = 0
    try:
        for name in names:
            source, target = own_file(bundle.path, bundle.path / name), folder / name
            if link:
                link_or_copy(source, target)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            size += target.stat().st_size
    except OSError as exc:
        raise _unwritable(exc, folder) from exc
    if Manifest.read(layout.manifest) != bundle.manifest:
        raise VerifyError(
            "Another command wrote to the bundle while it was being logged.",
            where=str(bundle.path),
            fix="log it again",
            code="TFB9404",
        )
    return size


def _unwritable(exc: OSError, folder: Path) -> PublishError:
    reason = "there is no space left" if is_disk_full(exc) else exc.strerror or str(exc)
    return PublishError(
        f"The bundle cannot be copied to {folder}: {reason}.",
        where=str(exc.filename) if exc.filename else None,
        fix="free space on that disk or choose another one: log_model writes to the folder that TMPDIR names",
        code="TFB5002" if is_disk_full(exc) else "TFB5001",
    )
