"""The part of bundle.yaml that declares signatures.

A signature is either a method of the module (`method`, `inputs`, `outputs`), or it wraps another one (`of`) with a conversion
of the inputs (`examples`, `image`, `text`, `mask`) and of the outputs (`classify`, `regress`). `bundler.adapters` builds the
wrappers into the SavedModel's graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from bundler.errors import UsageError
from bundler.spec.fields import INT32
from bundler.values.signature import LARGEST_DIM, TensorSpec
from serving.texts import escaped, is_printable

FEATURE_DTYPES = ("float32", "int64", "string")
"""The dtypes that a tf.Example can hold (tensorflow/core/example/feature.proto)."""


SENTENCES = frozenset({"samples"})
"""Fields whose strings are data for the model and may have several lines."""


class Strict(BaseModel):
    """A section of bundle.yaml: immutable, and unknown keys are errors. Its validator is built when it is first used.

    Numbers are finite. Every string, also as a key or in a list, is one line of visible characters: these names and paths end up
    in configs, manifests, scripts, pages and on terminals.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _visible(cls, value: Any, info: ValidationInfo) -> Any:
        is_allowed = _is_unicode if info.field_name in SENTENCES else is_printable
        for text in _strings(value):
            wrong = next((character for character in text if not is_allowed(character)), None)
            if wrong is not None:
                raise ValueError(
                    f"{text!r} has the character {escaped(wrong)}, which is not allowed; write one line of visible text"
                )
        return value


def _is_unicode(character: str) -> bool:
    return not "\ud800" <= character <= "\udfff"


def _strings(value: object) -> Iterator[str]:
    """Yield a string, or the strings in a tuple or mapping."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from (*_strings(key), *_strings(member))
    elif isinstance(value, (tuple, list)):
        for member in value:
            yield from _strings(member)


def reason(exc: UsageError) -> str:
    """Return what an error says, with its advice, as the text of a ValueError."""
    return f"{exc.what.rstrip('.')}; {exc.fix}" if exc.fix else exc.what


def _input_text(text: str) -> str:
    try:
        TensorSpec.parse(text)
    except UsageError as exc:
        raise ValueError(reason(exc)) from exc
    return text


InputText = Annotated[str, AfterValidator(_input_text)]


def _signature_name(name: str) -> str:
    if not name.isidentifier() or name == "serving_default":
        raise ValueError(f"{name!r} is not a valid name for an additional signature; use a name like long")
    return name


SignatureName = Annotated[str, AfterValidator(_signature_name)]

_KEY = re.compile(r"[^\W_][\w.\-]{0,47}")


def _signature_key(name: str) -> str:
    if not _KEY.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{name!r} is not a valid name for a signature, which is part of file names; "
            "use at most 48 letters, digits, '_', '-' and single '.', beginning with a letter or digit, e.g. embed"
        )
    return name


SignatureKey = Annotated[str, AfterValidator(_signature_key)]
DimSize = Annotated[int, Field(gt=0, le=LARGEST_DIM)]
_ImageSide = Annotated[int, Field(ge=1, le=65535)]  # JPEG's largest


def _feature(text: str) -> str:
    spec = TensorSpec.parse(_input_text(text))
    if spec.dtype not in FEATURE_DTYPES:
        raise ValueError(
            f"a tf.Example feature is one of {', '.join(FEATURE_DTYPES)}, not {spec.dtype}; e.g. {spec.name}=int64[64]"
        )
    if spec.dynamic_axes:
        raise ValueError(
            f"the dims of a feature are those of one example, numbers without the batch; e.g. {spec.name}={spec.dtype}[64]"
        )
    return text


FeatureText = Annotated[str, AfterValidator(_feature)]


def _labels(labels: object) -> object:
    """Accept numbers as class names: `labels: [0, 1]`."""
    if labels is None or isinstance(labels, str):
        return labels
    rule = "labels are a list of names, or the path of a file with one name per line, e.g. labels: [cat, dog]"
    if not isinstance(labels, (list, tuple)) or not labels:
        raise ValueError(rule)
    names = tuple(str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in labels)
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a class name; {rule}")
    return names


Labels = Annotated[str | tuple[str, ...], BeforeValidator(_labels)]


class ImageSpec(Strict):
    """How an image file becomes an input. By default the whole image is resized, as RGB in 0..1."""

    resize: _ImageSide | tuple[_ImageSide, _ImageSide] | None = Field(
        None,
        description="Size before the crop: the shorter side, or [height, width]. Default: the input's own size.",
        examples=[256],
    )
    crop: Literal["none", "center"] = Field("none", description="Crop the center to the input's size.")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field("bilinear", description="Resize filter.")
    channels: Literal["rgb", "bgr"] = Field("rgb", description="Order of the color channels.")
    scale: float = Field(1 / 255, gt=0, description="Factor for the pixels, which are 0..255; 1 keeps them as they are.")
    mean: tuple[float, ...] = Field(
        (),
        description="Subtracted from the scaled pixels: one number, or one per channel.",
        examples=[[0.485, 0.456, 0.406]],
    )
    std: tuple[float, ...] = Field(
        (),
        description="Divides the pixels after mean is subtracted: one number, or one per channel.",
        examples=[[0.229, 0.224, 0.225]],
    )

    fold: bool | None = Field(
        None,
        description="TFLite files take RGB pixels of 0 to 255, and normalize them; with false, they take normalized values in "
        "the order of channels. Default: true for a float32 input.",
    )

    @field_validator("std")
    @classmethod
    def _no_zero(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if 0 in std:
            raise ValueError("std must not contain 0, because the pixels are divided by it")
        return std

    @model_validator(mode="after")
    def _crop_has_a_size(self) -> ImageSpec:
        if self.crop == "center" and self.resize is None:
            raise ValueError("crop: center needs resize, e.g. resize: 256")
        return self


class ExamplesSpec(Strict):
    """Take serialized tf.Examples as the only input, `inputs`, string [batch], and parse them in the graph."""

    features: dict[str, FeatureText] = Field(
        {},
        description="Feature that each input is read from, name=dtype[dims of one example], e.g. {x: 'pixels=int64[64]'}. "
        "Default: the input's own name and dims.",
    )


class ClassifySpec(Strict):
    """Return `classes`, string, and `scores`, float32, both [batch, classes], as Classify needs them."""

    output: str | None = Field(
        None, description="Output with one number per class. Default: the one whose size matches the labels."
    )
    labels: Labels | None = Field(
        None, description="Class names: a list, or a file with one name per line. Default: the model's labels."
    )
    softmax: bool = Field(False, description="Apply softmax to the output to get scores (for logits).")
    top_k: DimSize | None = Field(None, description="Number of classes to return, best first. Default: all.")


class RegressSpec(Strict):
    """Return `outputs`, float32 [batch] or [batch, 1], as Regress needs it."""

    output: str | None = Field(None, description="Output that holds the number. Default: the one whose shape fits.")


class ImageInputSpec(Strict):
    """Take JPEG or PNG files as an input, string [batch], and decode, resize and normalize them in the graph."""

    input: str | None = Field(None, description="Input of the model that takes the image. Default: the one that fits.")
    name: str = Field(
        "image_bytes",
        pattern=r"^[A-Za-z][A-Za-z0-9_]*_bytes$",
        description="Name of the new input. It ends with _bytes, which marks binary strings for TensorFlow Serving.",
    )
    preprocess: ImageSpec | None = Field(None, description="Preprocessing of the image. Default: tflite.images.")

    @field_validator("preprocess")
    @classmethod
    def _no_fold(cls, preprocess: ImageSpec | None) -> ImageSpec | None:
        if preprocess and preprocess.fold is not None:
            raise ValueError("fold is about TFLite files; omit it here")
        return preprocess


class TextSpec(Strict):
    """Take sentences as the input, string [batch], and tokenize them in the graph with BERT's WordPiece."""

    tokenizer: str = Field(description="A tokenizer.json or vocab.txt file, or a folder that contains one.")
    name: str = Field("text", pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Name of the new input.")
    max_length: Annotated[int, Field(ge=2, le=INT32)] | None = Field(
        None,
        description="Largest number of tokens, including [CLS] and [SEP]. Default: as tokenizer.json says, or no limit.",
    )
    padding: Literal["longest", "max_length"] = Field(
        "longest", description="Pad rows to the longest one of the request, or to max_length."
    )
    lowercase: bool = Field(True, description="Whether a vocab.txt is for an uncased model. tokenizer.json has its own setting.")
    ids: str = Field("input_ids", description="Input of the model for the token ids.")
    mask: str | None = Field("attention_mask", description="Input of the model for the attention mask, if it has one.")
    types: str | None = Field("token_type_ids", description="Input of the model for the segment ids, if it has one.")
    samples: tuple[str, ...] = Field(
        (), description="Sentences for the golden data and the warm-up requests. Default: built-in ones."
    )


class MaskSpec(Strict):
    """Take token ids without their mask, which is made from the ids in the graph, so that a server can pad requests."""

    ids: str = Field("input_ids", description="Input of the model for the token ids.")
    mask: str = Field("attention_mask", description="Input of the model for the attention mask.")
    types: str | None = Field("token_type_ids", description="Input of the model for the segment ids, if it has one: zeros.")
    pad_id: int = Field(0, ge=0, le=INT32, description="The id of the padding.")


class SignatureSpec(Strict):
    """A signature in addition to `serving_default`. It shares the model's variables."""

    method: str = Field("forward", description="Method of the module that this signature calls.")
    inputs: tuple[InputText, ...] = Field(
        (), description="Inputs of the method, each name=dtype[dims]. Default: those of serving_default."
    )
    outputs: tuple[str, ...] = Field((), description="Outputs to keep, in this order. Default: all.")
    of: str = Field(
        "serving_default", description="Signature that examples, image, text, mask, classify and regress wrap."
    )
    examples: ExamplesSpec | None = Field(None, description="Take serialized tf.Examples.")
    image: ImageInputSpec | None = Field(None, description="Take JPEG or PNG files.")
    text: TextSpec | None = Field(None, description="Take sentences.")
    mask: MaskSpec | None = Field(None, description="Take token ids, and make their mask.")
    classify: ClassifySpec | None = Field(None, description="Return class names and scores.")
    regress: RegressSpec | None = Field(None, description="Return one number per example.")

    @property
    def is_derived(self) -> bool:
        """Whether this signature wraps another one, and is not a method of the module."""
        return any((self.examples, self.image, self.text, self.mask, self.classify, self.regress))

    @model_validator(mode="after")
    def _one_kind(self) -> SignatureSpec:
        for first, second in (("image", "text"), ("image", "mask"), ("text", "mask"), ("classify", "regress")):
            if getattr(self, first) and getattr(self, second):
                raise ValueError(
                    f"{first} and {second} cannot be combined; make two signatures, e.g. by_{first} and by_{second}"
                )
        method_keys = {"method": self.method != "forward", "inputs": bool(self.inputs), "outputs": bool(self.outputs)}
        given = [key for key, is_given in method_keys.items() if is_given]
        if self.is_derived and given:
            raise ValueError(
                f"{', '.join(given)} cannot be set on a signature that wraps another one; declare the method as a signature "
                "of its own and name it with of, e.g. of: embed"
            )
        if not self.is_derived and self.of != "serving_default":
            raise ValueError(f"of: {self.of} needs a conversion to wrap it with, e.g. examples: {{}}")
        return self
