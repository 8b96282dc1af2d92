"""`timm:NAME`: an image model of timm, with its published weights, weights from a file, or random weights."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from torch import nn

from bundler.errors import MissingExtraError, SourceError
from bundler.process.causes import cause_of
from bundler.process.logs import silence
from bundler.sources import LoadedModel
from bundler.sources.hub import hub_errors, unreachable
from bundler.sources.module import from_module
from bundler.sources.torchvision_ops import import_torchvision
from bundler.sources.weights import load_weights
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Create the architecture with an input of the size that it was trained with; `weights` overrides `pretrained`.

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        MissingExtraError: timm is not installed.
        SourceError: there is no such architecture, or its weights cannot be downloaded.
    """
    name = model.source.removeprefix("timm:")
    timm = _import_timm()
    module = _create(timm, name, pretrained=model.pretrained and not model.weights)
    provenance: dict[str, Any] = {"source": model.source, "timm": timm.__version__}
    if model.weights:
        provenance["weights"] = load_weights(module, model.weights, base, trust=model.trust_pickle)
    else:
        provenance["weights"] = "pretrained" if model.pretrained else "random"
    config: Any = module.pretrained_cfg
    channels, height, width = config["input_size"]
    user_specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    return from_module(
        module,
        inputs=user_specs or (TensorSpec("x", "float32", ("batch", channels, height, width)),),
        sizes_from="" if user_specs else "as in timm's configuration",
        provenance=provenance,
    )


def _import_timm() -> Any:
    try:
        import_torchvision()
        import timm
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "timm", "timm", purpose="A timm: source") from exc
    return timm


def _create(timm: Any, name: str, *, pretrained: bool) -> nn.Module:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=4)
        hint = f"did you mean {', '.join(close)}?" if close else "use a name that timm.list_models() returns"
        raise SourceError(f"timm {timm.__version__} has no model {name!r}.", fix=hint, code="TFB2202")
    try:
        with silence():
            module: nn.Module = timm.create_model(name, pretrained=pretrained)
    except hub_errors() as exc:
        raise unreachable(f"The weights of timm's {name}", exc) from exc
    except RuntimeError as exc:
        raise SourceError(f"timm cannot create {name}: {cause_of(exc)}", code="TFB2202") from exc
    return module
