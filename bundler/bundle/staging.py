"""Publishing a build: from a private folder into the bundle, all at once and never over an existing version.

`Staging` is a build's folder `<bundle>/.staging-…` and the bundle's lock, from the start of the build to its end. The
folder is on the bundle's file system and has the bundle's layout, so publishing consists of renames only (see `journal`):
generated files, ONNX, golden data and TFLite, then `models/<name>/<version>`, then bundle.json.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from types import TracebackType

from filelock import FileLock, Timeout

from bundler.bundle import adoption, journal
from bundler.bundle.adoption import Adopted
from bundler.bundle.files import link_on
from bundler.bundle.journal import JournalError, Step
from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import FileEntry, Manifest, files_under, hash_files
from bundler.errors import PublishError, UsageError
from bundler.process.causes import chain_of
from serving.regular_file import kind
from serving.texts import shell_command

PREFIX = ".staging-"
_OWNER = "owner.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = ("No space left on device", "Disk quota exceeded", "File too large")


@dataclass(frozen=True)
class Published:
    """The outcome of a publication: the bundle's new manifest, and notices for the user."""

    manifest: Manifest
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Edit:
    """The steps for one generated file, and a notice for the user if the file had been edited."""

    steps: tuple[Step, ...]
    notice: str | None = None


class Staging:
    """A build's private folder in a bundle, and the bundle's lock. Use as a context manager.

    Attributes:
        bundle: layout of the bundle.
        layout: layout of the private folder.
        work: scratch folder; it is not published.
        manifest: the bundle's content when the lock was taken; None for a new bundle.
        notices: what the user should know about the clean-up at the start.

    Raises (on entering):
        PublishError: another build holds the bundle, or its folder cannot be written.
        UsageError: the folder is not a bundle and not empty.
        VerifyError: the existing bundle is damaged.

    Leaving removes the private folder. An error in the block that a full disk has caused becomes a PublishError.
    """

    bundle: BundleLayout
    layout: BundleLayout
    work: Path
    manifest: Manifest | None

    def __init__(self, root: Path, *, adopts: bool = False) -> None:
        """Prepare to stage a build; nothing is written yet.

        Args:
            root: the bundle's folder.
            adopts: whether the folder may be a model repository, which `adopt` then takes in.
        """
        self.bundle = BundleLayout(root.resolve())
        self._adopts = adopts
        self._adopted: dict[tuple[str, int], bool] = {}  # whether the version stays where it is
        self.notices: list[str] = []
        self._shown = root
        self._lock = FileLock(self.bundle.lock, timeout=0)
        self._made: list[Path] = []
        self._published = False

    def __enter__(self) -> Staging:
        try:
            self._open()
        except OSError as exc:
            self._close()
            raise unwritable(exc, self._shown) from exc
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()
        if isinstance(exc, Exception) and not isinstance(exc, PublishError) and is_disk_full(exc):
            raise _full_disk(exc, self._shown) from exc

    def _open(self) -> None:
        root = self.bundle.root
        if not (self._adopts or os.path.lexists(self.bundle.manifest) or staging_folders(root)):
            adoption.check_folder(self.bundle, self._shown)
        self._make(root)
        _check_parts(self.bundle, self._shown)
        self._acquire()
        for stale in staging_folders(root):
            self._recover(stale)
        if self.bundle.manifest.exists():
            self.manifest = self._without_lost_versions(Manifest.read(self.bundle.manifest))
        else:
            self.manifest = None
        self.layout = BundleLayout(Path(tempfile.mkdtemp(prefix=PREFIX, dir=root)))
        self.work = self.layout.root / "work"
        self.work.mkdir()
        owner = {"pid": os.getpid(), "started": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        (self.layout.root / _OWNER).write_text(json.dumps(owner), "utf-8")

    def _make(self, folder: Path) -> None:
        """Create a folder with its parents, and remember them, so that a failed first build leaves nothing behind."""
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._made = missing

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except Timeout as exc:
            raise PublishError(
                f"Another build is writing into {self._shown}{_holder(self.bundle.root)}.",
                fix="wait until it ends, or build into another folder with -o",
                code="TFB5005",
            ) from exc

    def _recover(self, stale: Path) -> None:
        try:
            finished = journal.settle(self.bundle.root, stale)
        except JournalError as exc:
            raise PublishError(
                f"{stale.name} holds a journal that no build of this bundle wrote: {exc}.",
                where=str(self._shown / stale.name),
                fix=f"check the bundle with `{shell_command('tfbundle', 'verify', self._shown)}`, delete that folder, and repeat "
                "the command",
                code="TFB5006",
            ) from exc
        if finished:
            self.notices.append("Finished the publication of an earlier build that was killed.")
        shutil.rmtree(stale)

    def _without_lost_versions(self, manifest: Manifest) -> Manifest:
        for model in manifest.models:
            for number in manifest.versions(model):
                if not self.bundle.version_dir(model, number).is_dir():
                    manifest = manifest.without_version(model, number)
                    self.notices.append(f"models/{model}/{number} no longer exists and was removed from bundle.json.")
        return manifest

    def _close(self) -> None:
        if hasattr(self, "layout") and self.layout.root.is_dir():
            journal.settle(self.bundle.root, self.layout.root, forward=self._published)
            shutil.rmtree(self.layout.root)
        is_new = not (self._published or os.path.lexists(self.bundle.manifest))
        if is_new and self._lock.is_locked:
            with suppress(OSError):  # a folder that has other files by now stays
                self.bundle.lock.unlink(missing_ok=True)
                for folder in self._made:
                    folder.rmdir()
        self._lock.release()

    def next_version(self, model: str, requested: int | None) -> int:
        """Return the version number for a build of `model`: `requested`, or the number after the highest ever used.

        Raises:
            UsageError: the requested version is not a positive int64, which TensorFlow Serving counts versions in.
            PublishError: the requested version exists. Versions are never overwritten.
        """
        if requested is not None and not 1 <= requested < 2**63:
            raise UsageError(
                f"The version {requested} is out of range.", fix=f"use a number from 1 to {2**63 - 1}", code="TFB5004"
            )
        taken = self._taken(model) | {number for name, number in self._adopted if name == model}
        if requested is None:
            return max(taken, default=0) + 1
        self._check_free(model, requested, taken)
        return requested

    def _taken(self, model: str) -> set[int]:
        """Return the version numbers of a model that the bundle has."""
        return self.bundle.taken_versions(model) | set(self.manifest.versions(model) if self.manifest else ())

    def _check_free(self, model: str, number: int, taken: set[int]) -> None:
        if number in taken:
            raise PublishError(
                f"Version {number} of model {model!r} already exists; a published version is never overwritten.",
                where=str(self._shown / "models" / model / str(number)),
                fix=f"omit --version, or use --version {max(taken) + 1}",
                code="TFB5004",
            )

    def adopt(self) -> tuple[Adopted, ...]:
        """Take in the versions of a model repository that bundle.json does not have yet.

        Those in the bundle's models/ stay where they are. Others are linked into the private folder, to be published with the
        build; the originals stay, too.

        Raises:
            UsageError: there is no version, or one that cannot be adopted; the message names it.
        """
        known = self.manifest.models if self.manifest else {}
        found = adoption.find_versions(self.bundle)
        new = [version for version in found if version.number not in known.get(version.model, {})]
        if not found:
            raise UsageError(
                f"There is no version of a model to adopt in {self._shown}.",
                fix="give the folder that holds the models' folders with -o, or omit --adopt",
                code="TFB5008",
            )
        adoption.check_models_dir(self.bundle, found)
        adopted = [Adopted(v.model, v.number, adoption.make_record(v, self.bundle)) for v in new]
        for version in new:
            in_place = version.folder == self.bundle.version_dir(version.model, version.number)
            self._adopted[version.model, version.number] = in_place
            if not in_place:
                adoption.link_version(version.folder, self.layout.version_dir(version.model, version.number))
        if adopted:
            self.notices.append(adoption.notice(adopted))
        return tuple(adopted)

    def home(self, model: str, number: int) -> BundleLayout:
        """Return the layout that holds the files of a version that the bundle has, or that was just adopted."""
        return self.layout if self._adopted.get((model, number), True) is False else self.bundle

    def publish(self, manifest: Manifest, notices: Sequence[str] = ()) -> Published:
        """Move the staged files into the bundle and replace bundle.json.

        Args:
            manifest: the new content, except `files`, which are computed here.
            notices: what the user should know about the manifest.

        Raises:
            PublishError: a version has appeared in the meantime, or the folder cannot be written; nothing has changed.
        """
        try:
            return self._publish(manifest, notices)
        except JournalError as exc:
            raise PublishError(
                f"The bundle {self._shown} cannot be written: {exc}; nothing was published.",
                fix="put a real folder in the place of the link, or build into another folder with -o DIR",
                code="TFB5003",
            ) from exc
        except OSError as exc:
            raise unwritable(exc, self._shown) from exc

    def _publish(self, manifest: Manifest, notices: Sequence[str]) -> Published:
        generated = self._generated()
        edits = [self._replace_generated(path) for path in generated]
        edits += self._remove_leftovers(generated)
        steps = [step for edit in edits for step in edit.steps] + self._version_steps(manifest)
        manifest = replace(manifest, files=self._files(manifest, generated))
        self.layout.manifest.write_bytes(manifest.to_bytes())
        replaces = self.bundle.manifest.exists()
        steps.append(self._step(self.layout.manifest, self.bundle.manifest, backup=replaces))
        shutil.rmtree(self.work)
        journal.sync_tree(self.layout.root)
        journal.run(self.bundle.root, self.layout.root, steps)
        self._published = True
        return Published(manifest, (*self.notices, *notices, *(edit.notice for edit in edits if edit.notice)))

    def _new_versions(self, manifest: Manifest) -> Iterator[tuple[str, int]]:
        for model in self.layout.models():
            for number in self.layout.versions(model):
                if number not in manifest.versions(model):
                    raise ValueError(f"staged version {model}/{number} has no record in the manifest")
                yield model, number

    def _version_steps(self, manifest: Manifest) -> list[Step]:
        """Return the steps for the new versions, the SavedModels of all models last."""
        rows = []
        for model, number in self._new_versions(manifest):
            self._check_free(model, number, self._taken(model))
            parts = self.layout.version_parts(model, number)
            rows.append([self._step(part, self.bundle.root / self.layout.relative(part)) for part in parts])
        return [step for row in rows for step in row[:-1]] + [row[-1] for row in rows]

    def _step(self, source: Path, target: Path, *, backup: bool = False) -> Step:
        """Return a step; with `backup`, a copy of the target is made first."""
        root = self.bundle.root
        copy = self.layout.root / "old" / target.relative_to(root)
        if backup:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(target, copy)
        saved = copy.relative_to(root).as_posix() if backup else None
        return Step(source.relative_to(root).as_posix(), target.relative_to(root).as_posix(), saved)

    def _generated(self) -> list[str]:
        """Return the relative paths of the staged generated files."""
        layout = self.layout
        files = [p for part in layout.generated for p in (files_under(part) if part.is_dir() else [part])]
        return [layout.relative(file) for file in files if file.exists()]

    def _replace_generated(self, path: str) -> _Edit:
        """Put a generated file into its place; a file that the user has edited is kept under another name."""
        staged, final = self.layout.root / path, self.bundle.root / path
        self._check_folders(path)
        if not os.path.lexists(final):
            return _Edit((self._step(staged, final),))
        if self._is_ours(path):
            return _Edit((self._step(staged, final, backup=True),))
        if self._entry(path) == FileEntry.of(staged):
            return _Edit(())
        saved = _free_name(final)
        notice = f"{path} had been edited; your version is kept beside it as {saved.name}."
        return _Edit((self._step(final, saved), self._step(staged, final)), notice)

    def _is_ours(self, path: str) -> bool:
        """Return whether a file is still as an earlier build wrote it."""
        known = self.manifest.files.get(path) if self.manifest else None
        return known is not None and known == self._entry(path)

    def _entry(self, path: str) -> FileEntry | None:
        """Return the entry of a file of the bundle; None for what no build wrote, such as a link, which is not followed."""
        final = self.bundle.root / path
        if not stat.S_ISREG(final.lstat().st_mode):
            return None
        return FileEntry.of(final, follow=False)

    def _check_folders(self, path: str) -> None:
        link = link_on(self.bundle.root, str(PurePosixPath(path).parent))
        if link is not None:
            raise JournalError(f"the path {path!r} leads through the symbolic link {link!r}")

    def _remove_leftovers(self, generated: list[str]) -> Iterator[_Edit]:
        """Remove generated files of an earlier build that this build did not write, in the parts that it wrote."""
        parts = {path.split("/")[0] for path in generated}
        for path in self.manifest.files if self.manifest else ():
            final = self.bundle.root / path
            if version_of(path) or path in generated or path.split("/")[0] not in parts:
                continue
            self._check_folders(path)
            if not os.path.lexists(final):
                continue
            if self._is_ours(path):
                yield _Edit((self._step(final, self.layout.root / "old" / path),))
            else:
                yield _Edit((), f"{path} is no longer part of the bundle, but it had been edited and is kept.")

    def _files(self, manifest: Manifest, generated: list[str]) -> dict[str, FileEntry]:
        """Return the entries of all files: the remaining ones and the new ones."""
        parts = {path.split("/")[0] for path in generated}
        files: dict[str, FileEntry] = {}
        for path, entry in (self.manifest.files if self.manifest else {}).items():
            owner = version_of(path)
            stays = owner[1] in manifest.versions(owner[0]) if owner else path.split("/")[0] not in parts
            if stays:
                files[path] = entry
        kept = [p for owner, stays in self._adopted.items() if stays for p in files_under(self.bundle.version_dir(*owner))]
        new = [p for owner in self._new_versions(manifest) for p in _part_files(self.layout, *owner)]
        staged = hash_files(self.layout.root, [*new, *(self.layout.root / path for path in generated)])
        return files | hash_files(self.bundle.root, kept) | staged


def unwritable(exc: OSError, root: Path) -> PublishError:
    """Return the error for a bundle folder that cannot be written."""
    if is_disk_full(exc):
        return _full_disk(exc, root)
    return PublishError(
        f"The bundle's folder {root} cannot be written: {exc.strerror or exc}.",
        where=str(exc.filename) if exc.filename else None,
        fix="choose a folder that you may write to, with -o DIR",
        code="TFB5001",
    )


def _full_disk(exc: Exception, root: Path) -> PublishError:
    return PublishError(
        f"There is no space left to write the bundle {root}; nothing was published.",
        where=str(exc.filename) if isinstance(exc, OSError) and exc.filename else None,
        fix="free space on that disk or raise its quota, or build into another folder with -o",
        code="TFB5002",
    )


def is_disk_full(exc: BaseException) -> bool:
    """Return whether a full disk caused an error; TensorFlow and torch report one in the text of their errors only."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _FULL) or any(text in str(cause) for text in _FULL_TEXT)
        for cause in chain_of(exc)
    )


def _check_parts(bundle: BundleLayout, shown: Path) -> None:
    """Raise PublishError if a part of a bundle is a link, through which nothing is written, or the lock is not a file."""
    models = [child for folder in bundle.version_folders if folder.is_dir() for child in folder.iterdir()]
    for path in (bundle.manifest, bundle.lock, *bundle.generated, *bundle.version_folders, *sorted(models)):
        if path.is_symlink():
            relative = bundle.relative(path)
            raise PublishError(
                f"{relative} is a symbolic link (to {str(path.readlink())!a}), through which tfbundle does not write.",
                where=str(shown / relative),
                fix="put a real folder or file in its place, or build into another folder with -o DIR",
                code="TFB5003",
            )
    if bundle.lock.exists() and not bundle.lock.is_file():
        what = kind(bundle.lock.stat().st_mode)
        raise PublishError(
            f"{bundle.lock.name} is {what} and not a file.", where=str(shown), fix="remove it", code="TFB5003"
        )


def _part_files(layout: BundleLayout, model: str, number: int) -> Iterator[Path]:
    for part in layout.version_parts(model, number):
        yield from files_under(part) if part.is_dir() else [part]


def staging_folders(root: Path) -> list[Path]:
    """Return the private folders of builds; while the lock is held, of dead ones only."""
    return sorted(p for p in root.glob(f"{PREFIX}*") if p.is_dir() and not p.is_symlink())


def _holder(root: Path) -> str:
    for folder in staging_folders(root):
        with suppress(OSError, ValueError, KeyError):  # the build may end before its folder is read
            owner = json.loads((folder / _OWNER).read_text("utf-8"))
            return f" (process {owner['pid']}, since {owner['started']})"
    return ""


def _free_name(path: Path) -> Path:
    """Return `<name>.orig`, or `<name>.orig.2` and so on if that exists."""
    candidate, count = path.with_name(path.name + ".orig"), 1
    while os.path.lexists(candidate):
        count += 1
        candidate = path.with_name(f"{path.name}.orig.{count}")
    return candidate
