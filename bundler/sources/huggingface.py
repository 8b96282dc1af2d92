"""`hf:NAME_OR_PATH`: a transformers checkpoint, from the hub or from a local folder."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

from torch import nn

from bundler.errors import MissingExtraError, SourceError
from bundler.process.causes import cause_of
from bundler.process.logs import silence
from bundler.sources import LoadedModel
from bundler.sources.binding import parameters
from bundler.sources.example_inputs import Range
from bundler.sources.hub import unreachable
from bundler.sources.module import from_module
from bundler.sources.torchvision_ops import import_torchvision
from bundler.sources.weights import load_weights
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec
from serving.texts import shell_command

_SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "A bundle holds a model and everything that is needed to serve it in production, proven to answer alike.",
)
_TEXT = ("input_ids", "attention_mask", "token_type_ids")
_ENCODER_DECODER = ("input_ids", "attention_mask", "decoder_input_ids")


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Load the class that the checkpoint's config names, with its head.

    The inputs are those of the tokenizer (`input_ids`, `attention_mask`, `token_type_ids`) with dynamic batch and seq, or
    `pixel_values` of the config's image size. Caches are off, so that the model returns tensors only.

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        MissingExtraError: transformers is not installed.
        SourceError: there is no such checkpoint or no network, or the inputs of this kind of model must be given with --input.
    """
    transformers = _import_transformers()
    name = _resolve(model.source.removeprefix("hf:"), base)
    config = _config(transformers, name)
    module = _module(transformers, name, config, model)
    facts: dict[str, Any] = {"source": model.source, "transformers": transformers.__version__}
    if model.weights:
        facts["weights"] = load_weights(module, model.weights, base, trust=model.trust_pickle)
    else:
        facts["weights"] = "pretrained" if model.pretrained else "random"
        commit = getattr(config, "_commit_hash", None)
        facts.update({"revision": commit} if commit else {})
    user_specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    examples = None if user_specs else _examples(transformers, name, module)
    return from_module(
        module,
        examples=examples,
        inputs=user_specs or _specs(module, config, examples),
        ranges=_ranges(config),
        sizes_from="" if user_specs else "as in the checkpoint's configuration",
        provenance=facts,
    )


def _import_transformers() -> Any:
    try:
        # transformers imports torchvision if it is installed.
        if importlib.util.find_spec("torchvision") is not None:
            import_torchvision()
        import transformers
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "transformers", "hf", purpose="An hf: source") from exc
    return transformers


def _resolve(name: str, base: Path) -> str:
    """Return the path of a local folder, or a name on the hub. A path that does not exist is an error, not a name."""
    path = (base / Path(name).expanduser()).resolve()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise SourceError(
                f"The folder {name} is not a transformers checkpoint: it has no config.json.",
                where=str(path),
                fix="give a folder that save_pretrained wrote",
                code="TFB2202",
            )
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise SourceError(
            f"The folder {name} does not exist.",
            where=str(path),
            fix="check the path of the checkpoint",
            code="TFB2002",
        )
    return name


def _config(transformers: Any, name: str) -> Any:
    try:
        with _quiet(transformers), silence():
            return transformers.AutoConfig.from_pretrained(name)
    except OSError as exc:
        # transformers raises OSError if the hub is unreachable, the name unknown, or a file missing.
        raise unreachable(f"The checkpoint {name}", exc) from exc
    except (ValueError, KeyError) as exc:
        raise SourceError(
            f"transformers {transformers.__version__} does not support the model of {name}: {cause_of(exc)}",
            fix="check model_type in config.json, or upgrade transformers; code that comes with a checkpoint is not run",
            code="TFB2202",
        ) from exc


def _module(transformers: Any, name: str, config: Any, model: ModelSpec) -> nn.Module:
    architecture = (getattr(config, "architectures", None) or [None])[0]
    model_class = getattr(transformers, architecture, None) if architecture else None
    if hasattr(config, "use_cache"):
        config.use_cache = False
    try:
        with _quiet(transformers), silence():
            if model.pretrained and not model.weights:
                module: nn.Module = (model_class or transformers.AutoModel).from_pretrained(name, config=config)
            else:
                module = model_class(config) if model_class else transformers.AutoModel.from_config(config)
    except OSError as exc:
        raise unreachable(f"The weights of {name}", exc) from exc
    except (ValueError, RuntimeError, ImportError) as exc:
        raise SourceError(f"transformers cannot load {name}: {cause_of(exc)}", code="TFB2202") from exc
    return module


def _examples(transformers: Any, name: str, module: nn.Module) -> dict[str, Any] | None:
    """Tokenize two sentences with the checkpoint's tokenizer. Return None if it has none, or the model does not take text."""
    if getattr(module, "main_input_name", "") != "input_ids" or module.config.is_encoder_decoder:  # type: ignore[union-attr]
        return None
    if Path(name).is_dir() and not any(Path(name).glob("tokenizer*")):
        return None
    try:
        with _quiet(transformers), silence():
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            encoded = tokenizer(list(_SENTENCES), padding=True, return_tensors="pt")
    except (OSError, ValueError, KeyError, ImportError, TypeError):
        # Without a usable tokenizer, token ids are drawn at random.
        return None
    accepted = {parameter.name for parameter in parameters(module)}
    return {key: encoded[key] for key in encoded if key in accepted}


def _specs(module: nn.Module, config: Any, examples: dict[str, Any] | None) -> tuple[TensorSpec, ...]:
    if examples is not None:
        return tuple(TensorSpec(key, "int64", ("batch", "seq")) for key in examples)
    accepted = {parameter.name for parameter in parameters(module)}
    main = getattr(module, "main_input_name", "input_ids")
    if main == "pixel_values":
        size = getattr(config, "image_size", None) or 224
        height, width = (size, size) if isinstance(size, int) else size
        channels = getattr(config, "num_channels", 3)
        return (TensorSpec("pixel_values", "float32", ("batch", channels, height, width)),)
    if main != "input_ids":
        raise SourceError(
            f"{type(module).__name__} takes {main}, whose dims are not in its config.",
            fix=f"give its dims, e.g. --input {shell_command(f'{main}=float32[batch,3,224,224]')}",
            code="TFB2005",
        )
    if getattr(config, "is_encoder_decoder", False):
        dims = {"decoder_input_ids": ("batch", "target_seq")}
        return tuple(TensorSpec(n, "int64", dims.get(n, ("batch", "seq"))) for n in _ENCODER_DECODER)
    segments = getattr(config, "type_vocab_size", 0) or 0
    names = [n for n in _TEXT if n in accepted and (n != "token_type_ids" or segments > 1)]
    return tuple(TensorSpec(name, "int64", ("batch", "seq")) for name in names)


def _ranges(config: Any) -> dict[str, Range]:
    vocabulary = getattr(config, "vocab_size", None)
    segments = getattr(config, "type_vocab_size", None)
    ranges: dict[str, Range] = {}
    if vocabulary:
        ranges = {"input_ids": (0, vocabulary - 1), "decoder_input_ids": (0, vocabulary - 1)}
    if segments:
        ranges["token_type_ids"] = (0, segments - 1)
    return ranges


@contextlib.contextmanager
def _quiet(transformers: Any) -> Any:
    """Keep the progress bars and the advice of transformers off the terminal."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
