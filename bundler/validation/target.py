"""Whether a release of TensorFlow Serving can serve the models of a bundle: what it lacks, and for which layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bundler.bundle.layout import BundleLayout
from bundler.saved_model.missing import Fit, Lack, missing
from bundler.saved_model.releases import SERVER, Release, known_releases, read_release, release_of_tag
from bundler.spec.bundle_spec import DockerSpec
from serving.protocol.unsafe_ops import shown
from serving.texts import plural


@dataclass(frozen=True)
class TargetFit:
    """Whether a release can serve a SavedModel, and which layers of the user's model it lacks something for.

    Attributes:
        release: the release.
        fit: what it lacks.
        modules: PyTorch modules by the scope of a node, such as `node_conv` for `node_conv/Conv2D`; empty if they are not known.
    """

    release: Release
    fit: Fit
    modules: Mapping[str, Collection[str]]

    @property
    def fits(self) -> bool:
        """Whether the release lacks nothing."""
        return not self.fit.lacks

    def sentence(self, lack: Lack) -> str:
        """Return a lack as one line, with its first node and that node's layer: `RFFTND is not registered (node …, layer …)`."""
        if not lack.nodes:
            return str(lack)
        more = f" and {plural(len(lack.nodes) - 1, 'more node')}" if len(lack.nodes) > 1 else ""
        layers = self.layers(lack)
        layer = f", layer {', '.join(map(shown, layers[:3]))}" + ("…" if len(layers) > 3 else "") if layers else ""
        return f"{shown(lack.op)} {lack.what} (node {shown(lack.nodes[0])}{more}{layer})"

    def layers(self, lack: Lack) -> list[str]:
        """Return the PyTorch modules that the nodes of a lack come from."""
        names = [name for node in lack.nodes for name in list(self.modules.get(node.partition("/")[0], ()))[:1]]
        return list(dict.fromkeys(names))

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as `tfbundle inspect --target --json` prints it."""
        lacks = [asdict(lack) | {"layers": self.layers(lack)} for lack in self.fit.lacks]
        signatures = {name: self.fit.loads and not self.fit.lacks_of(name) for name in self.fit.signatures}
        return {"fits": self.fits, "loads": self.fit.loads, "signatures": signatures, "lacks": lacks}

    def lines(self) -> Iterator[str]:
        """Yield the verdict for people: a line per signature, each followed by what the release lacks for it."""
        for name in self.fit.signatures:
            own = self.fit.lacks_of(name)
            yield f"{shown(name)}: {'no' if own else 'yes' if self.fit.loads else 'no, because the model does not load'}"
            yield from (f"  {self.sentence(lack)}" for lack in own)
        others = [lack for lack in self.fit.lacks if not set(lack.signatures) & set(self.fit.signatures)]
        if others:
            yield "loading: no"
            yield from (f"  {self.sentence(lack)}" for lack in others)
        if not self.fit.loads and not any(lack.effect == "load" for lack in self.fit.lacks):
            yield "The warm-up requests in the SavedModel fail too, so that the server does not make it available at all."


def saved_model_fit(folder: Path, release: Release) -> TargetFit:
    """Return whether a release can serve the SavedModel in a folder.

    Raises:
        VerifyError: there is none, or it is damaged.
    """
    return TargetFit(release, missing(folder, release), {})


def version_fit(layout: BundleLayout, model: str, version: int, release: Release) -> TargetFit:
    """Return whether a release can serve a version of a bundle; the ONNX files of the version name the layers.

    Raises:
        VerifyError: its SavedModel is missing or damaged.
    """
    fit = missing(layout.version_dir(model, version), release)
    files = [layout.onnx_file(model, version), *(layout.onnx_file(model, version, name) for name in fit.signatures)]
    return TargetFit(release, fit, _modules(files) if fit.lacks else {})


def _modules(files: Collection[Path]) -> dict[str, Collection[str]]:
    """Return the modules by the scope of a node; none where the onnx package or the files are missing or damaged."""
    if find_spec("onnx") is None or find_spec("onnx_ir") is None:
        return {}
    from google.protobuf.message import DecodeError

    from bundler.tflite.layers import Names

    modules: dict[str, Collection[str]] = {}
    for file in files:
        try:
            modules |= Names.read(file).modules if file.is_file() else {}
        except (DecodeError, OSError, ValueError, SyntaxError):
            continue  # the verdict does not depend on the layers; `tfbundle verify` names the damaged file
    return modules


def image_notices(settings: Mapping[str, Any], layout: BundleLayout, versions: Mapping[str, int]) -> list[str]:
    """Return what the user should know about serving new versions with the pinned image of TensorFlow Serving.

    The tags of other images than tensorflow/serving say nothing about the server in them, so those are not checked.

    Args:
        settings: the section docker of the bundle's spec.
        layout: the paths of the bundle, or of its staging folder.
        versions: the number of the new version of each model.
    """
    docker = DockerSpec.model_validate(settings)
    if not docker.is_official:
        return []
    name, known = release_of_tag(docker.tag), known_releases()
    unchecked = "so it was not checked that its server has all operators of the models."
    if name is None:
        return [f"docker.tag {docker.tag!r} does not name a release of TensorFlow Serving, {unchecked}"]
    if name not in known:
        return [f"docker.tag {docker.tag!r} is none of the releases {known[0]} to {known[-1]} that tfbundle knows, {unchecked}"]
    release = read_release(name)
    fits = {model: version_fit(layout, model, number, release) for model, number in versions.items()}
    return [_image_notice(docker, model, fit) for model, fit in fits.items() if not fit.fits]


def _image_notice(docker: DockerSpec, model: str, fit: TargetFit) -> str:
    lacks = fit.fit.lacks
    more = f"; and {len(lacks) - 1} more" if len(lacks) > 1 else ""
    return (
        f"{model}: {fit.release}, the server of docker.tag {docker.tag}, cannot serve all of this model: "
        f"{fit.sentence(lacks[0])}{more}. For the list: tfbundle inspect --target {SERVER}=={fit.release.name}"
    )
