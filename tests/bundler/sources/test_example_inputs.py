"""Example inputs drawn from `name=dtype[dims]`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundler.sources.binding import bind_specs, parameters
from bundler.sources.example_inputs import integer_ranges, random_inputs
from bundler.sources.tensors import BFLOAT16, to_numpy, to_torch
from bundler.values.signature import TensorSpec


def specs(*texts: str) -> list[TensorSpec]:
    return [TensorSpec.parse(text) for text in texts]


def test_sizes_dtypes_and_masks() -> None:
    texts = ("x=float32[batch,3]", "attention_mask=int64[batch,seq]", "flag=bool[4]", "s=string[?]", "b=bfloat16[2]")
    drawn = random_inputs(specs(*texts), {})
    assert {k: v.shape for k, v in drawn.items()} == {
        "x": (2, 3), "attention_mask": (2, 16), "flag": (4,), "s": (16,), "b": (2,),
    }  # fmt: skip
    assert drawn["x"].dtype == np.float32 and drawn["flag"].dtype == np.bool_ and drawn["b"].dtype == BFLOAT16
    assert drawn["attention_mask"].all() and drawn["s"].dtype.kind == "U"


def test_values_are_the_same_on_every_call_and_leave_the_global_generator_alone() -> None:
    state = np.random.get_state()[1].copy()
    first, second = (random_inputs(specs("x=float32[4]"), {})["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_integers_fill_their_range_or_are_0_or_1() -> None:
    drawn = random_inputs(specs("ids=int64[500]", "other=int32[500]"), {"ids": (3, 6)})
    assert set(np.unique(drawn["ids"])) == {3, 4, 5, 6}
    assert set(np.unique(drawn["other"])) == {0, 1} and drawn["other"].dtype == np.int32


class Lookup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(50, 4), nn.Embedding(3, 4)

    def forward(self, ids: Tensor, kind: Tensor, shifted: Tensor) -> Tensor:
        return self.words(ids) + self.kinds(kind) + self.words(shifted + 1)


def test_ranges_come_from_the_embedding_that_looks_an_input_up() -> None:
    module, inputs = Lookup(), specs("ids=int64[batch,seq]", "kind=int64[batch,seq]", "shifted=int64[batch,seq]")
    ranges = integer_ranges(module, bind_specs(parameters(module), inputs), inputs)
    assert ranges == {"ids": (0, 49), "kind": (0, 2), "shifted": (0, 2)}


def test_ranges_survive_a_model_that_does_not_run_on_zeros() -> None:
    class Picky(Lookup):
        def forward(self, ids: Tensor, kind: Tensor, shifted: Tensor) -> Tensor:
            if int(ids.max()) == 0:
                raise ValueError("zeros")
            return super().forward(ids, kind, shifted)

    module, inputs = Picky(), specs("ids=int64[batch]", "kind=int64[batch]", "shifted=int64[batch]")
    ranges = integer_ranges(module, bind_specs(parameters(module), inputs), inputs)
    assert ranges == {"ids": (0, 2), "kind": (0, 2), "shifted": (0, 2)}


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint16, torch.int64, torch.bool,
     torch.complex64],
)  # fmt: skip
def test_tensors_go_to_numpy_and_back(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[1, 0], [3, 2]]).to(dtype).T
    array = to_numpy(tensor)
    assert str(array.dtype) == str(dtype).removeprefix("torch.") and array.shape == (2, 2)
    torch.testing.assert_close(to_torch(array), tensor)
