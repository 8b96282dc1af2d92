"""The artifact of a whole bundle: which parts of it become which layers, and its manifest.

    bundle.json                   a layer of its own, so that a pull knows every file before it fetches one
    models/NAME/VERSION           a layer of an image, the same as in the image of the models
    tflite, onnx, golden          each file a layer of its own: its digest is the one in bundle.json
    serving, k8s, docker, smoke   a layer of an image for each folder
    report.html, openapi.json     each a layer of its own

All layers have the title annotation, and those of folders the two by which the ORAS command line unpacks them, as in the image.
The config is a summary of bundle.json, so that a registry's page can show models and signatures. All annotations come from
bundle.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.reader import BundleReader
from bundler.delivery.oci.descriptors import MANIFEST, Descriptor, to_bytes
from bundler.delivery.oci.layers import Layer, PackedFile, Sealed, folders_below
from bundler.delivery.oci.referrers import BUNDLE_TYPE
from bundler.errors import VerifyError

CONFIG = "application/vnd.tfbundle.bundle.config.v1+json"
BUNDLE_JSON = "application/vnd.tfbundle.bundle.v1+json"
FILES = {
    "tflite": "application/vnd.tfbundle.tflite.v1",
    "onnx": "application/vnd.tfbundle.onnx.v1",
    "golden": "application/vnd.tfbundle.golden.v1+npz",
    "report.html": "text/html",
    "openapi.json": "application/vnd.oai.openapi+json",
}
"""The media type of files that are layers of their own, by the first part of their path."""

TITLE = "org.opencontainers.image.title"
PART = "vnd.tfbundle.part"
"""The annotation of a layer with the part of the bundle that it holds: models, tflite, onnx, golden or generated."""
IMAGE = "vnd.tfbundle.models-image"
"""The annotation of the artifact with the digest of the image that was pushed with it."""

_LAYOUT = BundleLayout(Path())
_TOP = tuple(path.name for path in (*_LAYOUT.version_folders, *_LAYOUT.generated))
"""The folders and files in the root of a bundle that bundle.json lists."""
_TOP_FILES = (_LAYOUT.report.name, _LAYOUT.openapi.name)


@dataclass(frozen=True)
class Parts:
    """A bundle, divided into layers.

    Attributes:
        models: the layers of the versions, which the image has, too.
        generated: the layers of the folders that every build writes.
        files: the files that are layers of their own.
    """

    models: tuple[Layer, ...]
    generated: tuple[Layer, ...]
    files: tuple[PackedFile, ...]


def divide(bundle: BundleReader) -> Parts:
    """Return the parts of a bundle. Only files that bundle.json lists belong to it.

    Raises:
        VerifyError: bundle.json lists a file that no tfbundle writes there.
    """
    root = bundle.path
    folders: dict[str, list[PackedFile]] = {}
    files = []
    for name, entry in sorted(bundle.manifest.files.items()):
        file, top = PackedFile(name, entry), name.split("/")[0]
        if not is_of_bundle(name):
            raise VerifyError(
                f"bundle.json lists {name!r}, which is not a part of a bundle.",
                where=str(root),
                fix="build the bundle again",
                code="TFB5104",
            )
        if top in FILES:
            files.append(file)
        else:
            folders.setdefault(_folder(name), []).append(file)
    versions = {f"models/{model}/{number}": 0 for model in bundle.models() for number in bundle.versions(model)}
    models = [Layer(root, title, folders[title], folders_below(root, title)) for title in versions if title in folders]
    generated = [Layer(root, title, content) for title, content in folders.items() if title not in versions]
    return Parts(tuple(models), tuple(generated), tuple(files))


def is_of_bundle(name: str) -> bool:
    """Return whether a path that bundle.json lists is one where tfbundle writes."""
    top, slash, _ = name.partition("/")
    return top in _TOP and (top in _TOP_FILES) != bool(slash)


def _folder(name: str) -> str:
    owner = version_of(name)
    return f"models/{owner[0]}/{owner[1]}" if owner else name.split("/")[0]


def layer_of(sealed: Sealed) -> Descriptor:
    """Return the descriptor of a layer in the artifact's manifest."""
    layer = sealed.unpacked_by_oras
    part = "models" if layer.annotations[TITLE].startswith("models/") else "generated"
    return replace(layer, annotations={**layer.annotations, PART: part})


def file_layer(file: PackedFile) -> Descriptor:
    """Return the descriptor of a file that is a layer of its own."""
    top = file.name.split("/")[0]
    part = "generated" if top in _TOP_FILES else top
    digest = f"sha256:{file.entry.sha256}"
    return Descriptor(FILES[top], digest, file.entry.size, {TITLE: file.name, PART: part})


def facts_of(bundle: BundleReader) -> dict[str, str]:
    """Return the annotations of the image and the artifact; the time is that of the newest version."""
    names = [(model, bundle.versions(model)) for model in bundle.models()]
    newest = max(bundle.record(model, number)["created"] for model, numbers in names for number in numbers)
    text = ", ".join(f"{model} {', '.join(map(str, numbers))}" for model, numbers in names)
    version = str(names[0][1][-1]) if len(names) == 1 else "_".join(f"{model}-{numbers[-1]}" for model, numbers in names)
    standard = {
        "title": ", ".join(model for model, _ in names),
        "description": f"Models and their versions: {text}",
        "version": version,
        "created": newest,
    }
    return {f"org.opencontainers.image.{key}": value for key, value in standard.items()}


def make_config(bundle: BundleReader) -> bytes:
    """Return the artifact's config: the facts of bundle.json that a person looks for."""
    models = {
        model: {
            str(number): {
                "signatures": bundle.record(model, number)["signatures"],
                "size_bytes": bundle.size_bytes(model, number),
                "created": bundle.record(model, number)["created"],
                "tflite": sorted(bundle.record(model, number)["tflite"]),
            }
            for number in bundle.versions(model)
        }
        for model in bundle.models()
    }
    labels = bundle.manifest.spec["serving"]["labels"]
    tools: Mapping[str, Any] = bundle.manifest.tools
    return to_bytes({"schema": "tfbundle/1", "models": models, "labels": labels, "tools": dict(tools)})


def make_artifact(bundle: BundleReader, layers: Sequence[Descriptor], image: str = "") -> tuple[bytes, bytes]:
    """Return the config and the manifest of the artifact.

    Args:
        bundle: the bundle.
        layers: its layers; that of bundle.json comes first.
        image: digest of the image that is pushed with it.
    """
    config = make_config(bundle)
    manifest = to_bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE_TYPE,
            "config": Descriptor.of(config, CONFIG).to_json(),
            "layers": [layer.to_json() for layer in layers],
            "annotations": {**facts_of(bundle), **({IMAGE: image} if image else {})},
        }
    )
    return config, manifest


def bundle_json_layer(data: bytes) -> Descriptor:
    """Return the descriptor of bundle.json."""
    return Descriptor.of(data, BUNDLE_JSON, annotations={TITLE: "bundle.json", PART: "bundle.json"})
