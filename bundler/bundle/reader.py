"""Reading a bundle on disk: its models, versions, signatures and measurements."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest, Record
from bundler.bundle.recovery import wait_until_published
from bundler.errors import UsageError, VerifyError
from bundler.values.addresses import lost_address
from bundler.values.signature import Signature
from serving.notebook import html_table
from serving.texts import shell_command

if TYPE_CHECKING:
    from typing_extensions import Self


class BundleReader:
    """A bundle on disk. Open one with `open`; nothing here writes.

    Attributes:
        layout: the paths of its parts.
        manifest: the content of its bundle.json.
        notices: what the user should know about the build that returned this object.
    """

    def __init__(self, layout: BundleLayout, manifest: Manifest, notices: tuple[str, ...] = ()) -> None:
        self.layout = layout
        self.manifest = manifest
        self.notices = notices

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the bundle in a folder.

        Raises:
            UsageError: `path` is an address.
            VerifyError: the folder has no bundle.json, or a damaged one.
        """
        if (address := lost_address(path)) is not None:
            pull = shell_command("tfbundle", "pull", address, "-o", "DIR")
            what = f"{address} is an address, and a folder is needed here."
            raise UsageError(what, fix=f"run `{pull}`, then give DIR", code="TFB9117")
        layout = BundleLayout(Path(path).resolve())
        if not os.path.lexists(layout.manifest):
            wait_until_published(layout.root)  # the first publication may have been killed
        return cls(layout, Manifest.read(layout.manifest))

    def __repr__(self) -> str:
        models = ", ".join(f"{name} {self.versions(name)}" for name in self.models())
        return f"{type(self).__name__}({str(self.path)!r}: {models})"

    def _repr_html_(self) -> str:
        """Return a table of the versions, which notebooks show."""
        rows = []
        for name in self.models():
            for number in self.versions(name):
                inputs = [str(spec) for spec in next(iter(self.signatures(name, number).values())).inputs]
                rows.append((name, str(number), ", ".join(inputs), ", ".join(self.record(name, number)["tflite"])))
        return html_table(f"Bundle {self.path}", ("model", "version", "inputs", "TFLite"), rows)

    @property
    def path(self) -> Path:
        """The bundle's folder, as an absolute path."""
        return self.layout.root

    @property
    def name(self) -> str:
        """The bundle's name: that of its folder."""
        return self.path.name

    def models(self) -> list[str]:
        """Return the names of the models, in the order of the spec."""
        order = [model["name"] for model in self.manifest.spec.get("models", ())]
        return sorted(
            self.manifest.models,
            key=lambda name: (name not in order, order.index(name) if name in order else 0),
        )

    def versions(self, model: str) -> list[int]:
        """Return the versions of a model, ascending.

        Raises:
            VerifyError: the bundle has no such model.
        """
        if model not in self.manifest.models:
            raise VerifyError(
                f"The bundle {self.path} has no model {model!r}.",
                fix=f"choose one of: {', '.join(self.models())}",
                code="TFB1006",
            )
        return self.manifest.versions(model)

    def record(self, model: str, version: int | None = None) -> Record:
        """Return the entry of bundle.json for a version (default: the latest).

        Raises:
            VerifyError: the bundle has no such model or version.
        """
        versions = self.versions(model)
        number = versions[-1] if version is None else version
        if number not in versions:
            known = ", ".join(map(str, versions))
            raise VerifyError(
                f"The model {model!r} has no version {number} in {self.path}.",
                fix=f"choose one of: {known}",
                code="TFB1006",
            )
        return self.manifest.models[model][number]

    def is_adopted(self, model: str, version: int) -> bool:
        """Return whether a version was adopted (`tfbundle build --adopt`), so that there are no golden data for it.

        Raises:
            VerifyError: the bundle has no such model or version.
        """
        return bool(self.record(model, version).get("adopted"))

    def signatures(self, model: str, version: int | None = None) -> dict[str, Signature]:
        """Return the signatures of a version (default: the latest), `serving_default` first.

        Raises:
            VerifyError: the bundle has no such model or version.
        """
        signatures = self.record(model, version)["signatures"]
        order = sorted(signatures, key=lambda name: (name != "serving_default", name))
        return {name: Signature.from_json(signatures[name]) for name in order}

    def size_bytes(self, model: str, version: int) -> int:
        """Return the size of the SavedModel's folder, in bytes, as it was built."""
        prefix = f"models/{model}/{version}/"
        return sum(entry.size for path, entry in self.manifest.files.items() if path.startswith(prefix))

    def inspect(self) -> dict[str, Any]:
        """Return the contents of the bundle as plain data: models, versions, signatures, sizes, measurements."""
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
