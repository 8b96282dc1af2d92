"""A bundle that can prove itself: every file is what was built, and the SavedModels answer as they did."""

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
    """Something about a bundle that is not as it was built.

    Attributes:
        path: relative to the bundle's root.
        serious: False for what harms nothing, such as a file of the user's own beside the generated ones.
    """

    path: str
    message: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Bundle(BundleReader):
    """A bundle on disk, with the check that it is still what was built. Open one with `Bundle.open`; nothing here writes."""

    def verify(self, *, parity: bool = True) -> list[Problem]:
        """Compare the bundle with its bundle.json.

        Every file's size and sha256, missing and unknown files, the parts each version must have and, with
        `parity`, the SavedModels' answers to the golden inputs (versions with damaged files are left out
        there).

        Returns:
            All problems found; none that is `serious` means that the bundle is what was built.
        """
        problems = [*self._damaged_files(), *self._unknown_files(), *self._missing_parts()]
        if parity:
            bad = {version_of(problem.path) for problem in problems if problem.serious}
            for model in self.models():
                for number in self.versions(model):
                    if (model, number) not in bad:
                        problems += self._wrong_answers(model, number)
        return problems

    def _damaged_files(self) -> Iterator[Problem]:
        for path, want in sorted(self.manifest.files.items()):
            try:
                got = FileEntry.of(self.path / path)
            except (FileNotFoundError, NotADirectoryError):
                yield Problem(path, "missing")
                continue
            except OSError as exc:
                yield Problem(path, f"cannot be read: {exc.strerror}")
                continue
            if got.size != want.size:
                yield Problem(path, f"changed: {got.size} bytes instead of {want.size}{_hint(path)}")
            elif got != want:
                yield Problem(
                    path, f"changed: sha256 {got.sha256[:12]}… instead of {want.sha256[:12]}…{_hint(path)}"
                )

    def _unknown_files(self) -> Iterator[Problem]:
        own = {self.layout.manifest.name, self.layout.lock.name}
        for file in files_under(self.path):
            path = self.layout.relative(file)
            if path in self.manifest.files or path in own:
                continue
            if path.startswith(PREFIX):
                continue  # of a build that runs, or was killed: the next one removes it
            served = path.split("/")[0] in ("models", "tflite", "onnx", "golden")
            yield Problem(path, "not part of the bundle", serious=served)

    def _missing_parts(self) -> Iterator[Problem]:
        """Parts that bundle.json itself does not list; a listed file that is gone is found by its hash."""
        for model in self.models():
            for number in self.versions(model):
                needed = (
                    self.layout.version_dir(model, number) / "saved_model.pb",
                    self.layout.golden_file(model, number),
                )
                for path in map(self.layout.relative, needed):
                    if path not in self.manifest.files:
                        yield Problem(path, "not listed in bundle.json, but every version has it")

    def _wrong_answers(self, model: str, number: int) -> Iterator[Problem]:
        from bundler.validation.golden_check import check_golden
        from serving.golden.data import Golden

        folder = self.layout.version_dir(model, number)
        path = self.layout.relative(folder)
        try:
            golden = Golden.load(self.layout.golden_file(model, number))
            report = check_golden(golden, folder)
        except (OSError, ValueError) as exc:
            yield Problem(
                self.layout.relative(self.layout.golden_file(model, number)), f"cannot be read: {exc}"
            )
        except ParityError as exc:
            yield Problem(path, exc.what)
        else:
            yield from (Problem(path, row.explain()) for row in report.failures)


def _hint(path: str) -> str:
    if version_of(path):
        return ""
    return " (if that was you: the next build or render writes it anew and keeps yours as .orig)"
