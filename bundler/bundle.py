"""A bundle on disk: what is in it, and whether it is still what was built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.errors import ParityError, VerifyError
from bundler.layout import BundleLayout, version_of
from bundler.manifest import FileEntry, Manifest, Record, files_under
from bundler.publish import PREFIX
from bundler.signature import Signature


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


class Bundle:
    """A bundle on disk. Open one with `Bundle.open`; nothing here writes.

    Attributes:
        layout: where its parts are.
        manifest: the content of its bundle.json.
        notices: of the build that made this object: what the user should know.
    """

    def __init__(self, layout: BundleLayout, manifest: Manifest, notices: tuple[str, ...] = ()) -> None:
        self.layout = layout
        self.manifest = manifest
        self.notices = notices

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """The bundle in a folder.

        Raises:
            VerifyError: the folder has no bundle.json, or a damaged one.
        """
        layout = BundleLayout(Path(path).resolve())
        return cls(layout, Manifest.read(layout.manifest))

    def __repr__(self) -> str:
        models = ", ".join(f"{name} {self.versions(name)}" for name in self.models())
        return f"Bundle({str(self.path)!r}: {models})"

    @property
    def path(self) -> Path:
        return self.layout.root

    @property
    def name(self) -> str:
        return self.path.name

    def models(self) -> list[str]:
        """Names of the models, in the order of the spec."""
        order = [model["name"] for model in self.manifest.spec.get("models", ())]
        return sorted(
            self.manifest.models,
            key=lambda name: (name not in order, order.index(name) if name in order else 0),
        )

    def versions(self, model: str) -> list[int]:
        """Versions of a model, ascending.

        Raises:
            VerifyError: the bundle has no such model.
        """
        if model not in self.manifest.models:
            raise VerifyError(
                f"The bundle {self.path} has no model {model!r}.", fix=f"one of: {', '.join(self.models())}"
            )
        return self.manifest.versions(model)

    def record(self, model: str, version: int | None = None) -> Record:
        """What bundle.json says of a version (default: the latest).

        Raises:
            VerifyError: the bundle has no such model or version.
        """
        versions = self.versions(model)
        number = versions[-1] if version is None else version
        if number not in versions:
            known = ", ".join(map(str, versions))
            raise VerifyError(
                f"Model {model!r} has no version {number} in {self.path}.", fix=f"one of: {known}"
            )
        return self.manifest.models[model][number]

    def signatures(self, model: str, version: int | None = None) -> dict[str, Signature]:
        """Signatures of a version, `serving_default` first."""
        found = self.record(model, version)["signatures"]
        order = sorted(found, key=lambda name: (name != "serving_default", name))
        return {name: Signature.from_json(found[name]) for name in order}

    def size_bytes(self, model: str, version: int) -> int:
        """Size of the SavedModel's folder as built."""
        prefix = f"models/{model}/{version}/"
        return sum(entry.size for path, entry in self.manifest.files.items() if path.startswith(prefix))

    def inspect(self) -> dict[str, Any]:
        """What is in the bundle, as plain data: models, versions, signatures, sizes, figures."""
        models = {}
        for name in self.models():
            versions = {}
            for number in self.versions(name):
                record = self.record(name, number)
                versions[str(number)] = {**record, "size_bytes": self.size_bytes(name, number)}
            models[name] = {"latest": self.versions(name)[-1], "versions": versions}
        return {
            "path": str(self.path),
            "name": self.name,
            "tools": dict(self.manifest.tools),
            "models": models,
            "files": len(self.manifest.files),
            "size_bytes": sum(entry.size for entry in self.manifest.files.values()),
        }

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
        from bundler.parity import check_golden
        from serving.golden import Golden

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
