"""The part of bundle.yaml that declares signatures: methods of the module, and what stands around one of them at its edges.

A signature is either a method of the module (`method`, `inputs`, `outputs`), or made of another one (`of`) by what is put
before it (`examples`, `image`, `text`) and behind it (`classify`, `regress`). Those of the second kind are built into the
SavedModel's graph by `bundler.adapters`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from bundler.errors import UsageError
from bundler.values.signature import TensorSpec

FEATURE_DTYPES = ("float32", "int64", "string")
"""What a tf.Example holds (tensorflow/core/example/feature.proto)."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _input_text(text: str) -> str:
    try:
        TensorSpec.parse(text)
    except UsageError as exc:
        raise ValueError(str(exc)) from exc
    return text


InputText = Annotated[str, AfterValidator(_input_text)]


def _signature_name(name: str) -> str:
    if not name.isidentifier() or name == "serving_default":
        raise ValueError(f"{name!r} is no name for a further signature, e.g. long")
    return name


SignatureName = Annotated[str, AfterValidator(_signature_name)]


def _feature(text: str) -> str:
    spec = TensorSpec.parse(_input_text(text))
    if spec.dtype not in FEATURE_DTYPES:
        raise ValueError(
            f"a feature of a tf.Example is one of {', '.join(FEATURE_DTYPES)}, not {spec.dtype}; e.g. {spec.name}=int64[64]"
        )
    if spec.dynamic_axes:
        raise ValueError(f"the dims of one example are numbers, without the batch; e.g. {spec.name}={spec.dtype}[64]")
    return text


FeatureText = Annotated[str, AfterValidator(_feature)]


def _labels(given: object) -> object:
    """Numbers are names, too: `labels: [0, 1]`."""
    if given is None or isinstance(given, str):
        return given
    rule = "labels are a list of names or the path of a file with one a line, e.g. labels: [cat, dog]"
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(rule)
    names = tuple(str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in given)
    wrong = [one for one in names if not isinstance(one, str) or not one.strip()]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name; {rule}")
    return names


Labels = Annotated[str | tuple[str, ...], BeforeValidator(_labels)]


class ImageSpec(Strict):
    """How images become an input. Unsaid: RGB resized as a whole, in 0..1."""

    resize: int | tuple[int, int] | None = Field(
        None, description="Shorter side, or [height, width], before the crop; empty: straight to the input's size."
    )
    crop: Literal["none", "center"] = Field("none", description="center: cut the input's size from the middle.")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: float = Field(1 / 255, gt=0, description="Pixels of 0..255 are multiplied by it; 1 keeps them.")
    mean: tuple[float, ...] = Field((), description="Subtracted after scale; one number, or one a channel.")
    std: tuple[float, ...] = Field((), description="Divided by after mean; one number, or one a channel.")

    @field_validator("std")
    @classmethod
    def _no_zero(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if 0 in std:
            raise ValueError("std is divided by; 0 is no deviation")
        return std

    @model_validator(mode="after")
    def _crop_has_a_size(self) -> ImageSpec:
        if self.crop == "center" and self.resize is None:
            raise ValueError("crop: center needs resize, e.g. resize: 256")
        return self


class ExamplesSpec(Strict):
    """Serialized tf.Examples as the one input `inputs`, string [batch], parsed in the graph."""

    features: dict[str, FeatureText] = Field(
        {},
        description="Input -> the feature it is read from, name=dtype[dims of one example], e.g. {x: 'pixels=int64[64]'}. "
        "Unsaid: the input's own name and dims.",
    )


class ClassifySpec(Strict):
    """Outputs `classes`, string, and `scores`, float32, both [batch, classes]: what Classify answers from."""

    output: str | None = Field(None, description="The output with a number for each class; empty: the one that fits.")
    labels: Labels | None = Field(None, description="Names of the classes: a list, or a file with one a line.")
    softmax: bool = Field(False, description="Scores are the softmax of the output (of logits).")
    top_k: PositiveInt | None = Field(None, description="Only the best so many classes, best first.")


class RegressSpec(Strict):
    """Output `outputs`, float32 [batch] or [batch, 1]: what Regress answers from."""

    output: str | None = Field(None, description="The output with the number; empty: the one that fits.")


class ImageInputSpec(Strict):
    """Encoded images, JPEG or PNG, as an input, string [batch]: decoded, resized and normalized in the graph."""

    input: str | None = Field(None, description="The model's input that takes the image; empty: the one that fits.")
    name: str = Field(
        "image_bytes",
        pattern=r"^[A-Za-z]\w*_bytes$",
        description="Name of the new input; it ends with _bytes, as TensorFlow Serving marks binary strings.",
    )
    preprocess: ImageSpec | None = Field(None, description="As tflite.images; empty: that one.")


class TextSpec(Strict):
    """Sentences as the input, string [batch]: the tokens are made in the graph, by BERT's WordPiece."""

    tokenizer: str = Field(description="tokenizer.json or vocab.txt, or a folder that has one.")
    name: str = Field("text", pattern=r"^[A-Za-z]\w*$", description="Name of the new input.")
    max_length: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Tokens kept, [CLS] and [SEP] among them; empty: as tokenizer.json says, else all."
    )
    padding: Literal["longest", "max_length"] = Field(
        "longest", description="Rows are filled up to the longest of the request, or all to max_length."
    )
    lowercase: bool = Field(True, description="For a vocab.txt: an uncased model. tokenizer.json says it itself.")
    ids: str = Field("input_ids", description="The model's input for the token ids.")
    mask: str | None = Field("attention_mask", description="Its input for the mask, where it has one.")
    types: str | None = Field("token_type_ids", description="Its input for the segments, where it has one.")
    samples: tuple[str, ...] = Field((), description="Sentences for golden data and warm-up; empty: some of ours.")


class SignatureSpec(Strict):
    """A further signature beside `serving_default`. It shares the model's variables."""

    method: str = Field("forward", description="Method of the module that this signature calls.")
    inputs: tuple[InputText, ...] = Field((), description="Its inputs, name=dtype[dims]; empty: as serving_default.")
    outputs: tuple[str, ...] = Field((), description="Keep only these outputs, in this order; empty: all.")
    of: str = Field("serving_default", description="The signature behind examples, image, text, classify and regress.")
    examples: ExamplesSpec | None = Field(None, description="Take serialized tf.Examples.")
    image: ImageInputSpec | None = Field(None, description="Take JPEG or PNG files.")
    text: TextSpec | None = Field(None, description="Take sentences.")
    classify: ClassifySpec | None = Field(None, description="Answer classes and scores.")
    regress: RegressSpec | None = Field(None, description="Answer one number.")

    @property
    def is_derived(self) -> bool:
        """Whether it is made of another signature, and not a method of its own."""
        return any((self.examples, self.image, self.text, self.classify, self.regress))

    @model_validator(mode="after")
    def _one_kind(self) -> SignatureSpec:
        for one, other in (("image", "text"), ("classify", "regress")):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"{one} and {other} cannot both be; make two signatures, e.g. by_{one} and by_{other}")
        said = {"method": self.method != "forward", "inputs": bool(self.inputs), "outputs": bool(self.outputs)}
        own = [key for key, is_said in said.items() if is_said]
        if self.is_derived and own:
            raise ValueError(
                f"{', '.join(own)} belong to a method of the module; declare that as a signature of its own and name it "
                "with of, e.g. of: embed"
            )
        if not self.is_derived and self.of != "serving_default":
            raise ValueError(f"of: {self.of} needs what is to stand around it, e.g. examples: {{}}")
        return self
