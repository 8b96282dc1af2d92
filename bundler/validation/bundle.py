"""The check that a bundle is still what was built: its files, its parts, and the outputs of its SavedModels."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.adoption import adopted_versions
from bundler.bundle.files import leads_out, link_on
from bundler.bundle.journal import JournalError
from bundler.bundle.layout import version_of
from bundler.bundle.manifest import FileEntry, files_under
from bundler.bundle.reader import BundleReader
from bundler.bundle.recovery import HalfPublished, half_published
from bundler.bundle.staging import PREFIX
from bundler.errors import ParityError
from bundler.process.extras import require
from serving.quiet import quiet_tensorflow
from serving.regular_file import kind


@dataclass(frozen=True)
class Problem:
    """A difference between a bundle and what was built.

    Attributes:
        path: relative to the bundle's root.
        serious: False for harmless differences, such as a file of the user's own beside the generated ones.
    """

    path: str
    message: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Bundle(BundleReader):
    """A bundle on disk that can be verified. Open one with `Bundle.open`; nothing here writes."""

    def verify(
        self, *, parity: bool = True, allow_unsafe_ops: bool = False, digests: Mapping[str, str] | None = None
    ) -> list[Problem]:
        """Compare the bundle with its bundle.json.

        The check covers the size and sha256 of every file, missing and unknown files, links that lead out of the bundle, files
        that are none (FIFOs, sockets, devices), the parts that each version must have, and operators that reach out of a model,
        to files or the network for example. Nothing outside the bundle is read. If a killed command left a publication half
        done, that is one problem, and the files that it renames are not checked.

        Args:
            parity: whether to run the SavedModels on the golden inputs, too; versions with damaged files are left out, and
                so are versions that do more than compute, unless that is allowed.
            allow_unsafe_ops: whether operators that reach out of a model are harmless differences.
            digests: the sha256 of files that were hashed just now, by path; they are not read again.

        Returns:
            All problems. The bundle is what was built if none of them is `serious`.

        Raises:
            MissingExtraError: the models are to run, and the packages of `tfbundle[serve]` are not installed.
        """
        if parity:
            require("serve", "The run of a bundle's models", otherwise="leave it out: --no-parity, or parity=False in Python")
        quiet_tensorflow()
        left, half = self._staging_folders()
        found = [*self._damaged_files(digests or {}), *self._links_out(), *self._unknown_files(), *self._missing_parts()]
        found += self._unsafe_parts({problem.path for problem in found}, allow_unsafe_ops)
        problems = [*left, *(each for each in found if not any(publication.covers(each.path) for publication in half))]
        if parity:
            damaged = {version_of(problem.path) for problem in problems if problem.serious}
            versions = [(m, number) for m in self.models() for number in self.versions(m) if not self.is_adopted(m, number)]
            for model, number in versions:
                parts = (self.layout.version_dir(model, number), self.layout.golden_file(model, number))
                if (model, number) not in damaged and not any(self._is_outside(self.layout.relative(part)) for part in parts):
                    problems += self._wrong_outputs(model, number)
        return problems

    def _staging_folders(self) -> tuple[list[Problem], list[HalfPublished]]:
        """Return a problem for each staging folder, and the publications that were left half done in them."""
        problems, half = [], []
        for folder in sorted(self.path.glob(f"{PREFIX}*")):
            if self._is_outside(folder.name):
                continue  # reported with the other links
            try:
                publication = None if folder.is_symlink() else half_published(self.path, folder)
            except JournalError as exc:
                what = f"holds a journal that no build of this bundle wrote: {exc}; delete that folder"
                problems.append(Problem(folder.name, what))
                continue
            if publication:
                half.append(publication)
                problems.append(Problem(folder.name, str(publication)))
            else:
                note = "left by a build that runs or was interrupted; the next build settles it"
                problems.append(Problem(folder.name, note, serious=False))
        return problems, half

    def _is_outside(self, path: str) -> bool:
        return link_on(self.path, path) is not None and leads_out(self.path, path)

    def _links_out(self) -> Iterator[Problem]:
        for path in filter(Path.is_symlink, files_under(self.path)):
            relative = self.layout.relative(path)
            if leads_out(self.path, relative):
                target = ascii(str(path.readlink()))
                yield Problem(relative, f"symbolic link that leads out of the bundle, to {target}; it is not followed")

    def _damaged_files(self, digests: Mapping[str, str]) -> Iterator[Problem]:
        for path, recorded in sorted(self.manifest.files.items()):
            if self._is_outside(path):
                continue
            try:
                file = self.path / path
                entry = FileEntry(file.stat().st_size, digests[path]) if path in digests else FileEntry.of(file)
            except (FileNotFoundError, NotADirectoryError):
                yield Problem(path, "missing")
                continue
            except OSError as exc:
                yield Problem(path, f"cannot be read: {exc.strerror}")
                continue
            if entry.size != recorded.size:
                yield Problem(path, f"changed: {entry.size} bytes instead of {recorded.size}{_hint(path)}")
            elif entry != recorded:
                hashes = f"sha256 {entry.sha256[:12]}… instead of {recorded.sha256[:12]}…"
                yield Problem(path, f"changed: {hashes}{_hint(path)}")

    def _unknown_files(self) -> Iterator[Problem]:
        unlisted = {self.layout.manifest.name, self.layout.lock.name, self.layout.relative(self.layout.signature)}
        unlisted.update(self.layout.relative(path) for path in self.layout.papers(self.manifest.models))
        originals = tuple(f"{path}/" for _, _, path in adopted_versions(self.manifest.models) if not version_of(path))
        for file in files_under(self.path):
            path = self.layout.relative(file)
            if path in self.manifest.files or path in unlisted:
                continue
            if path.startswith((PREFIX, *originals)) or self._is_outside(path):
                continue
            mode = file.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                yield Problem(path, f"{kind(mode)}, which no bundle has; it is not opened")
                continue
            served = path.split("/")[0] in ("models", "tflite", "onnx", "golden")
            yield Problem(path, "not part of the bundle", serious=served)

    def _missing_parts(self) -> Iterator[Problem]:
        """Yield the parts that bundle.json itself does not list; `_damaged_files` finds listed files that are missing."""
        for model in self.models():
            for number in self.versions(model):
                required = [self.layout.version_dir(model, number) / "saved_model.pb"]
                if not self.is_adopted(model, number):
                    required.append(self.layout.golden_file(model, number))
                for path in map(self.layout.relative, required):
                    if path not in self.manifest.files:
                        yield Problem(path, "not listed in bundle.json, but every version must have it")

    def _unsafe_parts(self, damaged: Collection[str], allowed: bool) -> Iterator[Problem]:
        """Yield what models do besides computing. One whose files differ from bundle.json is named as damaged only."""
        from bundler.validation.unsafe import unsafe_parts

        for model in self.models():
            for number in self.versions(model):
                for part in unsafe_parts(self.layout, model, number):
                    if not any(path == part.path or path.startswith(f"{part.path}/") for path in damaged):
                        what = str(part.use) if part.is_unreadable else f"does more than compute: {part.use}"
                        yield Problem(part.path, what, serious=not allowed)

    def _wrong_outputs(self, model: str, number: int) -> Iterator[Problem]:
        from bundler.validation.golden_check import check_golden
        from serving.errors import GoldenError
        from serving.golden.data import Golden

        folder, golden_file = self.layout.version_dir(model, number), self.layout.golden_file(model, number)
        path = self.layout.relative(folder)
        try:
            report = check_golden(Golden.load(golden_file), folder)
        except GoldenError as exc:
            yield Problem(self.layout.relative(golden_file), exc.what)
        except ParityError as exc:
            yield Problem(path, exc.what)
        else:
            yield from (Problem(path, row.explain()) for row in report.failures)


def _hint(path: str) -> str:
    if version_of(path):
        return ""
    return " (if you edited it: the next build or render rewrites it and keeps your version as .orig)"
