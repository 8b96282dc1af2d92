"""Writes a commented bundle.yaml to start from, and the JSON Schema that editors check it with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import PublishError, UsageError

SCHEMA_FILE = "bundle.schema.json"

_TEMPLATE = """\
# yaml-language-server: $schema=./{schema}
# What `tfbundle build {file}` builds. Every key but name and source may be left out; unknown keys are errors.

models:
  - name: {name}                 # served under this name: letters, digits, '_', '-', '.'
    source: {source}
    # one of: file.py:callable, model.pt2, model.onnx, weights.pt or .safetensors (with architecture),
    # timm:NAME, hf:NAME_OR_PATH. A callable returns a module, or a module and example inputs.
    # architecture: nets.py:make   # makes the module that a state dict belongs to

{inputs}
    # outputs: [scores]            # names for the outputs, in the model's order
    # signatures:                  # beside serving_default; they share the model's weights
    #   embed: {{method: encode}}
    #   photo: {{image: {{}}}}         # JPEG or PNG files in, see docs/signatures.md: image, text, examples, classify, regress
    # labels: labels.txt           # names of a classifier's classes: gives the signature classify
    # cast_half: true              # float32 to the outside of a half-precision model

    # ops: [my_ops.py]             # handlers of your own, see docs/custom-ops.md
    # converter: native            # or onnx-tf
    # opset: 20                    # ONNX opset to export
    # layout: keep                 # or nhwc: image inputs with channels last
    tolerance: 1.0e-4              # largest relative error allowed against PyTorch

    tflite:                        # float32, float16, dynamic, int8, int8-io, int16x8, mix
      variants: {variants}
      # the int variants need samples of what the model will see: an .npz, a folder of .npz or images, or file.py:name
      {calibration}
      # images: {{resize: 256, crop: center, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
      # batch: 1                   # size of the dim named batch in the .tflite files
      # dims: {{seq: 64}}            # sizes of further dynamic dims
      # shapes:                    # further signatures of the same file, with other sizes
      #   long: {{seq: 256}}
      # evaluate: metrics.py:accuracy   # gets predict, returns a number, higher is better
      # max_drop: 0.01             # how far below PyTorch's a variant's number may be; else it is not published
      # min_sqnr: 10               # without evaluate: least signal-to-noise ratio of an output against PyTorch, in dB
      # float_layers: [head.*]     # what stays float in mix
      # auto_mix: true             # make mix with as few float layers as pass
      # io_type: int8              # or uint8: inputs and outputs of int8-io
      # select_tf_ops: false       # true allows operators that need the Flex delegate

serving:
  grpc_port: 8500
  rest_port: 8501
  # fast_path: true              # serve a model.tflite: quicker for small models; a model's own fast_path: false leaves it out
  batching: false
  # max_batch_size: 32
  # batch_timeout_micros: 1000
  # allowed_batch_sizes: [1, 8, 32]   # the last one is max_batch_size
  # labels: {{{name}: {{stable: 1}}}}
  # versions: {{{name}: [1, 2]}}        # default: the latest only
  monitoring: true

kubernetes:
  namespace: default
  replicas: 2
  max_replicas: 10
  cpu: "1"
  # memory: 1Gi                  # default: computed from the models' size
  # models_image: registry.example.com/{name}:1

docker:
  image: tensorflow/serving
  tag: {tag}
  # digest: sha256:…             # pins the image
"""

_NO_INPUTS = """\
    # Not needed when the callable gives example inputs. A named dim (batch, seq) is dynamic.
    # inputs:
    #   - x=float32[batch,3,224,224]"""


@dataclass(frozen=True)
class Answers:
    """What `tfbundle init` asks."""

    name: str = "model"
    source: str = "model.py:make_model"
    inputs: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    calibration: str | None = None


def spec_text(answers: Answers, file: str = "bundle.yaml") -> str:
    """The text of a bundle.yaml.

    Raises:
        SpecError: the answers do not make a valid one.
    """
    from ruamel.yaml import YAML

    from bundler.spec.bundle_spec import BundleSpec, parse_spec

    inputs = _NO_INPUTS
    if answers.inputs:
        inputs = "\n".join(["    inputs:", *(f"      - {_quoted(text)}" for text in answers.inputs)])
    calibration = "# calibration: samples.npz"
    if answers.calibration:
        calibration = f"calibration: {_quoted(answers.calibration)}"
    text = _TEMPLATE.format(
        schema=SCHEMA_FILE,
        file=file,
        name=answers.name,
        source=_quoted(answers.source),
        inputs=inputs,
        variants=f"[{', '.join(answers.variants)}]",
        calibration=calibration,
        tag=_quoted(BundleSpec().docker.tag),
    )
    parse_spec(YAML(typ="safe").load(text), where="the answers given")
    return text


def write_spec(path: Path, answers: Answers, *, force: bool = False) -> list[Path]:
    """Write a bundle.yaml and the schema beside it.

    Raises:
        UsageError: the file is there already.
        SpecError: the answers do not make a valid one.
        PublishError: the folder cannot be written.
    """
    from bundler.spec.bundle_spec import BundleSpec

    text = spec_text(answers, path.name)
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists already.", fix="choose another name with -o, or overwrite it with --force"
        )
    schema = path.with_name(SCHEMA_FILE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        schema.write_text(json.dumps(BundleSpec.json_schema(), indent=2) + "\n", "utf-8")
    except OSError as exc:
        raise PublishError(
            f"{path} cannot be written: {exc.strerror}.", fix="choose another place with -o"
        ) from exc
    return [path, schema]


def _quoted(text: str) -> str:
    """A YAML string; JSON's double quotes are YAML's, too."""
    return json.dumps(text, ensure_ascii=False)
