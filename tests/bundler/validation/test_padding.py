"""Whether requests of different lengths can share a batch: models that ignore a server's padding, and models that do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bundler
from bundler.validation.padding import PaddedAnswers, check_padding, merged, warnings
from bundler.values.arrays import Array
from bundler.values.reference import Case, ReferenceOutputs
from bundler.values.signature import Signature, TensorSpec
from serving.config.batching import BatchingParameters


class Tokens(nn.Module):
    """An output for each token, from its neighbours on the left only, which padding at the end does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        states = self.vectors[ids].cumsum(1)
        return {"states": states}


class Mean(Tokens):
    """A mean over all tokens: padding counts."""

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        states = self.vectors[ids]
        return {"states": states, "mean": states.mean(1)}


class Masked(Tokens):
    """A mean over the tokens that the mask counts."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        weights = mask[..., None].float()
        return (self.vectors[ids] * weights).sum(1) / weights.sum(1)


class Model:
    """A module in place of its SavedModel, with PyTorch's answers to calls of some lengths."""

    def __init__(self, module: nn.Module, *lengths: int, dims: tuple[str | int, ...] = ("batch", "tokens")) -> None:
        names = ("ids", "mask") if isinstance(module, Masked) else ("ids",)
        signature = Signature(tuple(TensorSpec(name, "int64", dims) for name in names), ())
        rng = np.random.default_rng(0)
        draws = [{name: rng.integers(3, 20, (2, length)) for name in names} for length in lengths]
        for draw in draws:
            if "mask" in draw:
                draw["mask"][:] = 1
        self._module = module.eval()
        exported = SimpleNamespace(name="serving_default", signature=signature)
        cases = tuple(Case(f"tokens-{len(draw['ids'][0])}", draw, self("serving_default", draw)) for draw in draws)
        self.reference = ReferenceOutputs(exported, cases)  # type: ignore[arg-type]

    def __call__(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert signature == "serving_default"
        with torch.no_grad():
            outputs = self._module(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def check(self) -> PaddedAnswers | None:
        return check_padding(self, self.reference, {}, 1e-4)  # type: ignore[arg-type]


def test_the_shorter_call_is_padded_with_its_own_first_value() -> None:
    short, long = {"x": np.array([[3, 1], [5, 2]])}, {"x": np.arange(4)[None]}
    assert merged(short, long)["x"].tolist() == [[3, 1, 3, 3], [5, 2, 3, 3], [0, 1, 2, 3]]


def test_outputs_that_padding_does_not_reach_stay_and_are_cut_back() -> None:
    answers = Model(Tokens(), 6, 3, 9).check()
    assert answers == PaddedAnswers("serving_default", ("ids",), {})
    assert list(warnings([answers], is_on=None)) == []


def test_each_output_that_padding_changes_is_named() -> None:
    answers = Model(Mean(), 6, 3).check()
    assert answers is not None
    assert answers.changes.keys() == {"mean"}
    assert answers.changes["mean"].startswith("relative error ")
    (off,), (on,) = (list(warnings([answers], is_on=is_on)) for is_on in (None, True))
    assert "requests whose ids differ in length fail if they share a batch; padding would change the answers (mean: " in off
    assert "get wrong answers if they share a batch, padded (mean: " in on


def test_a_mask_is_padded_with_ones_and_so_does_not_help() -> None:
    answers = Model(Masked(), 6, 3).check()
    assert answers is not None
    assert answers.inputs == ("ids", "mask")
    assert answers.changes.keys() == {"output"}


@pytest.mark.parametrize(
    ("lengths", "dims"), [((6, 6), ("batch", "tokens")), ((6, 3), ("batch", 6)), ((6, 3), (2, "tokens"))],
    ids=["one length", "fixed length", "fixed rows"],
)  # fmt: skip
def test_nothing_is_said_where_no_two_lengths_can_meet(lengths: tuple[int, ...], dims: tuple[str | int, ...]) -> None:
    assert Model(Mean(), *lengths, dims=dims).check() is None


NETS = """
import torch
from tests.bundler.validation.test_padding import Masked, Mean, Tokens

def tokens():
    return Tokens().eval(), torch.randint(3, 20, (2, 6))

def masked():
    return Masked().eval(), (torch.randint(3, 20, (2, 6)), torch.ones(2, 6, dtype=torch.int64))
"""
SPEC = """
models:
  - {{name: m, source: nets.py:{source}, inputs: [{inputs}], signatures: {{{signatures}}}}}
serving: {{batching: true{pads}}}
"""


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("source", "signatures", "pads", "is_on", "noted"),
    [
        ("tokens", "", "", True, []),
        ("masked", "by_ids: {mask: {ids: ids, mask: mask, types: null}}", "", False, ["serving_default"]),
        pytest.param(
            "masked", "by_ids: {mask: {ids: ids, mask: mask, types: null}}", ", pad_variable_length_inputs: true", True,
            ["serving_default"], marks=pytest.mark.slow,
        ),
    ],
    ids=["ignores padding", "mask", "mask, padded"],
)  # fmt: skip
def test_a_build_with_batching_pads_if_no_answer_changes(
    tmp_path: Path, source: str, signatures: str, pads: str, is_on: bool, noted: list[str]
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    inputs = ", ".join(f"'{name}=int64[batch,tokens]'" for name in (("ids", "mask") if source == "masked" else ("ids",)))
    (tmp_path / "bundle.yaml").write_text(SPEC.format(source=source, inputs=inputs, signatures=signatures, pads=pads))
    bundle = bundler.build(tmp_path / "bundle.yaml", out=tmp_path / "out")
    config = BatchingParameters.from_text((tmp_path / "out" / "serving" / "batching.config").read_text())
    assert config.pad_variable_length_inputs == is_on
    changed = [notice.split(":")[0] for notice in bundle.notices if "differ in length" in notice]
    assert changed == [f"m, signature {name}" for name in noted]
    padded = json.loads((tmp_path / "out" / "bundle.json").read_text())["models"]["m"]["versions"]["1"]["parity"]["padded"]
    assert [name for name, record in padded.items() if record["changes"]] == noted
    assert ("by_ids" in padded) == bool(signatures)
