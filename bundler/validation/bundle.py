"""The check that a bundle is still what was built: its files, its parts, and the outputs of its SavedModels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bundler.bundle.layout import version_of
from bundler.bundle.manifest import FileEntry, files_under
from bundler.bundle.reader import BundleReader
from bundler.bundle.staging import PREFIX
from bundler.errors import ParityError


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

    def verify(self, *, parity: bool = True, allow_unsafe_ops: bool = False) -> list[Problem]:
        """Compare the bundle with its bundle.json.

        The check covers the size and sha256 of every file, missing and unknown files, the parts that each version must have,
        and operators that reach out of a model, to files or the network for example.

        Args:
            parity: whether to run the SavedModels on the golden inputs, too; versions with damaged files are left out, and
                so are versions that do more than compute, unless that is allowed.
            allow_unsafe_ops: whether operators that reach out of a model are harmless differences.

        Returns:
            All problems. The bundle is what was built if none of them is `serious`.
        """
        problems = [*self._damaged_files(), *self._unknown_files(), *self._missing_parts(), *self._unsafe_parts(allow_unsafe_ops)]
        if parity:
            damaged = {version_of(problem.path) for problem in problems if problem.serious}
            versions = [(model, number) for model in self.models() for number in self.versions(model)]
            for model, number in versions:
                if (model, number) not in damaged:
                    problems += self._wrong_outputs(model, number)
        return problems

    def _damaged_files(self) -> Iterator[Problem]:
        for path, recorded in sorted(self.manifest.files.items()):
            try:
                entry = FileEntry.of(self.path / path)
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
        unlisted = {self.layout.manifest.name, self.layout.lock.name}
        for folder in sorted(self.path.glob(f"{PREFIX}*")):
            yield Problem(folder.name, "left by a build that runs or was interrupted; the next build settles it", serious=False)
        for file in files_under(self.path):
            path = self.layout.relative(file)
            if path in self.manifest.files or path in unlisted:
                continue
            if path.startswith(PREFIX):
                continue
            served = path.split("/")[0] in ("models", "tflite", "onnx", "golden")
            yield Problem(path, "not part of the bundle", serious=served)

    def _missing_parts(self) -> Iterator[Problem]:
        """Yield the parts that bundle.json itself does not list; `_damaged_files` finds listed files that are missing."""
        for model in self.models():
            for number in self.versions(model):
                required = (
                    self.layout.version_dir(model, number) / "saved_model.pb",
                    self.layout.golden_file(model, number),
                )
                for path in map(self.layout.relative, required):
                    if path not in self.manifest.files:
                        yield Problem(path, "not listed in bundle.json, but every version must have it")

    def _unsafe_parts(self, allowed: bool) -> Iterator[Problem]:
        from bundler.validation.unsafe import unsafe_parts

        for model in self.models():
            for number in self.versions(model):
                for part in unsafe_parts(self.layout, model, number):
                    yield Problem(part.path, f"does more than compute: {part.use}", serious=not allowed)

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
