"""Calibration data: every source is read by its rule, and errors name the sample and a fix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundler.adapters.samples import SampleFormat
from bundler.errors import SourceError, TfbundleError, UsageError
from bundler.tflite.calibration import read
from bundler.values.digests import arrays_sha256, file_sha256, files_sha256
from bundler.values.signature import Signature, TensorSpec

IMAGE = SampleFormat(
    Signature((TensorSpec.parse("image=float32[batch,3,4,6]"),), ()), {"image": (1, 3, 4, 6)}
)
TEXT = SampleFormat(
    Signature((TensorSpec.parse("ids=int64[batch,seq]"), TensorSpec.parse("state=float32[2,batch,5]")), ()),
    {"ids": (2, 7), "state": (2, 2, 5)},
)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, 4, 6), np.float32)


def test_npz_has_samples_on_the_first_axis(tmp_path: Path) -> None:
    images = pictures(10)
    np.savez(tmp_path / "s.npz", image=images)
    data = read("s.npz", IMAGE, base=tmp_path)
    calls = list(data.calls())
    assert [call["image"].shape for call in calls] == [(1, 3, 4, 6)] * 10
    np.testing.assert_array_equal(np.concatenate([call["image"] for call in calls]), images)
    record = data.to_json()
    ((name, input_range),) = record.pop("inputs").items()
    assert name == "image"
    assert (input_range["min"], input_range["max"]) == (images.min(), images.max())
    assert record == {
        "source": "s.npz", "rule": "an .npz file, samples on the first axis", "samples": 10, "available": 10,
        "sha256": arrays_sha256({"image": image} for image in images),
        "files": 1, "files_sha256": file_sha256(tmp_path / "s.npz"),
    }  # fmt: skip


def test_data_have_the_same_hash_from_a_file_a_folder_and_a_function(tmp_path: Path) -> None:
    images = pictures(8)
    np.savez(tmp_path / "s.npz", image=images)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        np.savez(tmp_path / "folder" / f"{number}.npz", image=image)
    code = f"import numpy as np\ndef calls():\n    return list(np.load({str(tmp_path / 's.npz')!r})['image'])\n"
    (tmp_path / "data.py").write_text(code)
    found = [read(text, IMAGE, base=tmp_path).to_json() for text in ("s.npz", "folder", "data.py:calls")]
    assert len({each["sha256"] for each in found}) == 1
    files = sorted((tmp_path / "folder").iterdir())
    hashes = [file_sha256(tmp_path / "s.npz"), files_sha256(files, tmp_path / "folder"), file_sha256(tmp_path / "data.py")]
    assert [(each["files"], each["files_sha256"]) for each in found] == list(zip((1, 8, 1), hashes, strict=True))


def test_ranges_and_outliers_are_reported(tmp_path: Path) -> None:
    images = pictures(40)
    images[17, 0, 0, 0] = 500
    np.savez(tmp_path / "s.npz", image=images)
    data = read("s.npz", IMAGE, base=tmp_path)
    input_range = data.to_json()["inputs"]["image"]
    assert (input_range["max"], input_range["farthest"]) == (500, "s.npz[17]")
    assert input_range["p99_9"] < 1.001
    assert input_range["outliers"] == round(1 / images.size, 6)
    (warning,) = data.warnings()
    assert "ranges from" in warning
    assert "to 500" in warning
    assert "s.npz[17]" in warning
    np.savez(tmp_path / "t.npz", image=pictures(31))
    (warning,) = read("t.npz", IMAGE, base=tmp_path).warnings()
    assert warning.startswith("only 31 calibration samples")
    np.savez(tmp_path / "u.npz", image=pictures(32))
    assert list(read("u.npz", IMAGE, base=tmp_path).warnings()) == []


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_data_of_one_value_is_refused(tmp_path: Path, value: float) -> None:
    np.savez(tmp_path / "s.npz", image=np.full_like(pictures(40), value))
    with pytest.raises(UsageError, match=rf"Every value of the calibration data is the same \(image {value:g}\)") as caught:
        read("s.npz", IMAGE, base=tmp_path)
    assert caught.value.code == "TFB4004"


def test_samples_are_stacked_on_the_models_batch_axis(tmp_path: Path) -> None:
    ids, state = np.arange(63).reshape(9, 7), np.arange(90, dtype=np.float32).reshape(9, 2, 5)
    np.savez(tmp_path / "s.npz", ids=ids, state=state)
    calls = list(read("s.npz", TEXT, base=tmp_path).calls())
    assert len(calls) == 5
    np.testing.assert_array_equal(calls[0]["ids"], ids[:2])
    np.testing.assert_array_equal(calls[0]["state"], np.stack([state[0], state[1]], axis=1))
    np.testing.assert_array_equal(calls[4]["ids"], ids[[8, 0]])  # filled up with the first sample


def test_at_most_256_evenly_spread_samples_are_used(tmp_path: Path) -> None:
    scalar = SampleFormat(Signature((TensorSpec.parse("x=float32[batch]"),), ()), {"x": (1,)})
    np.savez(tmp_path / "s.npz", x=np.arange(1000, dtype=np.float32))
    data = read("s.npz", scalar, base=tmp_path)
    values = [float(sample.arrays["x"]) for sample in data.samples]
    assert (len(values), values[0], values[-1], data.available) == (256, 0, 999, 1000)
    assert max(np.diff(values)) <= 4


def test_a_folder_of_npz_holds_calls_or_samples(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    (folder / "more").mkdir(parents=True)
    for i in range(6):
        np.savez(folder / f"{i}.npz", ids=np.full(7, i), state=np.zeros((2, 5), np.float32))
    np.savez(folder / "more" / "9.npz", ids=np.full((3, 7), 9), state=np.ones((2, 3, 5), np.float32))
    data = read("calls", TEXT, base=tmp_path)
    assert [int(sample.arrays["ids"][0]) for sample in data.samples] == [0, 1, 2, 3, 4, 5, 9, 9, 9]
    assert [sample.where for sample in data.samples][-1] == "more/9.npz[2]"


FUNCTIONS = """
import numpy as np
import torch

def dicts():
    for i in range(10):
        yield {"image": np.full((1, 3, 4, 6), i, np.float32)}

def tuples():
    return [(np.full((3, 4, 6), i, np.float32),) for i in range(10)]

def tensors():
    return [torch.full((2, 3, 4, 6), float(i)) for i in range(5)]

def endless():
    while True:
        yield np.linspace(0, 1, 72, dtype=np.float32).reshape(1, 3, 4, 6)

def broken():
    yield np.zeros((1, 3, 4, 6), np.float32)
    raise KeyError("no such picture")

def number():
    return 3

def pairs():
    return [(np.zeros(3), np.zeros(3))]
"""


@pytest.mark.parametrize(("name", "count"), [("dicts", 10), ("tuples", 10), ("tensors", 10), ("endless", 256)])
def test_function_in_a_file_yields_samples(tmp_path: Path, name: str, count: int) -> None:
    (tmp_path / "samples.py").write_text(FUNCTIONS)
    data = read(f"samples.py:{name}", IMAGE, base=tmp_path)
    assert len(data.samples) == count
    assert {call["image"].shape for call in data.calls()} == {(1, 3, 4, 6)}


def test_function_in_a_module_yields_samples() -> None:
    assert len(read(f"{__name__}:module_samples", IMAGE, base=Path()).samples) == 8


def module_samples() -> list[np.ndarray]:
    return list(pictures(8))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("samples.py:broken", SourceError, r"raised: KeyError: 'no such picture'(.|\n)*samples\.py:21: raise KeyError"),
        ("samples.py:number", UsageError, "must yield samples, but it returned int"),
        ("samples.py:absent", UsageError, r"samples\.py has no function 'absent'"),
        ("samples.py:pairs", UsageError, r"item 0 has 2 arrays, but the model takes image"),
        ("nowhere.py:dicts", SourceError, r"The file nowhere\.py does not exist"),
        ("no_such_module:dicts", SourceError, "no_such_module.* cannot be imported: ModuleNotFoundError"),
        ("nothing", UsageError, r"is not an \.npz file, a folder, or module:function"),
        ("absent.npz", UsageError, r"is not an \.npz file, a folder"),
    ],
)
def test_invalid_source_is_rejected(tmp_path: Path, text: str, error: type[TfbundleError], message: str) -> None:
    (tmp_path / "samples.py").write_text(FUNCTIONS)
    with pytest.raises(error, match=message):
        read(text, IMAGE, base=tmp_path)


def with_nan() -> np.ndarray:
    images = pictures(9)
    images[4, 0, 0, 0] = np.nan
    return images


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": pictures(9)[:, :, :2]}, r"s\.npz\[0\]: the input 'image' has the shape \[3, 2, 6\] instead of \[3, 4, 6\]"),
        ({"image": pictures(9).astype(np.float64)}, r"s\.npz\[0\].* dtype float64 instead of float32(.|\n)*astype\('float32'\)"),
        ({"image": with_nan()}, r"s\.npz\[4\]: the input 'image' has values that are NaN or infinite"),
        ({"image": pictures(7)}, "has 7 samples; int8 needs at least 8"),
        ({"picture": pictures(9)}, "has no array for image and has picture, which the model does not have as an input"),
        ({"image": pictures(9), "y": pictures(9)}, "has y, which the model does not have as an input"),
    ],
)  # fmt: skip
def test_invalid_sample_is_rejected(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        read("s.npz", IMAGE, base=tmp_path)


def test_damaged_npz_and_inconsistent_sizes_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(UsageError, match="cannot be read"):
        read("s.npz", IMAGE, base=tmp_path)
    np.savez(tmp_path / "t.npz", ids=np.zeros((9, 7), np.int64), state=np.zeros((8, 2, 5), np.float32))
    with pytest.raises(UsageError, match="different numbers of samples"):
        read("t.npz", TEXT, base=tmp_path)
    (tmp_path / "calls").mkdir()
    np.savez(tmp_path / "calls" / "1.npz", ids=np.zeros((9, 7), np.int64), state=np.zeros((2, 8, 5), np.float32))
    with pytest.raises(UsageError, match="have different batch sizes"):
        read("calls", TEXT, base=tmp_path)


def test_folder_with_npz_files_and_images_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    np.savez(tmp_path / "mixed" / "1.npz", image=pictures(1))
    (tmp_path / "mixed" / "2.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds both \.npz files and images"):
        read("mixed", IMAGE, base=tmp_path)
