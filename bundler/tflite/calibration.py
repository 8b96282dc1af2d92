"""Calibration data, from which the integer variants get their value ranges.

`--calibration` is one of

1. an .npz file: one array per input, by name, with samples on the first axis and without the batch axis;
2. a folder of .npz files: each one call of the model, or one sample (without the batch axis);
3. a folder of images (see `bundler.adapters.preprocessing`);
4. `module:function` or `file.py:function`, which yields calls or samples: a dict by input name, a tuple or list in the model's
   order, or the array itself for a model with one input;
5. `random`, if explicitly allowed: 32 random draws that resemble the example (`bundler.values.input_draws`).

Arrays are in the PyTorch model's axis order. At least 8 samples are needed, and fewer than 32 cause a warning. If there are more
than 256, 256 of them are used.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.adapters.samples import Sample, SampleFormat, batch_axis
from bundler.errors import UsageError
from bundler.tflite import user_function
from bundler.tflite.ranges import InputRange
from bundler.values import input_draws
from bundler.values.arrays import Array
from bundler.values.digests import arrays_sha256, file_sha256, files_sha256
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec
    from bundler.spec.signature_spec import ImageSpec


MIN_SAMPLES, FEW_SAMPLES, MAX_SAMPLES = 8, 32, 256
RANDOM = "random"
_END = object()


@dataclass(frozen=True)
class Calibration:
    """Checked calibration samples.

    Attributes:
        source: the value of `--calibration`.
        rule: how the samples were read, for the report.
        samples: at most `MAX_SAMPLES` samples.
        available: number of samples in the source.
        sample_format: the format of a sample.
        files: what is recorded about the files that were read: their number and sha256.
    """

    source: str
    rule: str
    samples: tuple[Sample, ...]
    available: int
    sample_format: SampleFormat
    files: Mapping[str, Any] = field(default_factory=dict)

    def calls(self) -> Iterator[dict[str, Array]]:
        """Yield the inputs of each call; the last call is filled up with the first samples."""
        size = self.sample_format.batch
        for start in range(0, len(self.samples), size):
            yield self.sample_format.stacked([self.samples[(start + i) % len(self.samples)].arrays for i in range(size)])

    def ranges(self) -> tuple[InputRange, ...]:
        """Return the range of each input's values."""
        return tuple(InputRange.of(spec.name, self.samples) for spec in self.sample_format.signature.inputs)

    def warnings(self) -> Iterator[str]:
        """Yield the reasons why the ranges may be unreliable."""
        if self.source == RANDOM:
            yield "the ranges come from random calibration data, so the accuracy on real data is unknown"
        elif len(self.samples) < FEW_SAMPLES:
            yield f"only {len(self.samples)} calibration samples; use 100 or more for representative ranges"
        for input_range in self.ranges():
            if input_range.has_outliers:
                yield input_range.explain()

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json."""
        return {
            "source": self.source,
            "rule": self.rule,
            "samples": len(self.samples),
            "available": self.available,
            "inputs": {input_range.name: input_range.to_json() for input_range in self.ranges()},
            "sha256": arrays_sha256(sample.arrays for sample in self.samples),
            **self.files,
        }


def check_source(spec: TfliteSpec, base: Path) -> None:
    """Check that the calibration data exists, and that random data is allowed, without reading any of it.

    Args:
        spec: the model's `tflite` section.
        base: folder that a relative path starts from.

    Raises:
        UsageError: the source is not a file, a folder or module:function, or it is `random` without permission.
        SourceError: the file of the function does not exist.
    """
    text = spec.calibration or ""
    if text == RANDOM:
        if not spec.allow_random_calibration:
            raise UsageError(
                "Random calibration data gives int8 ranges that do not match real data, so the file may be inaccurate.",
                fix="give real samples (--calibration), or add --allow-random-calibration to measure only size and speed",
                code="TFB4004",
            )
    elif not (base / text).exists():
        if ":" not in text:
            raise _no_source(text, base / text)
        user_function.check(text, base, what="calibration")


def read_calibration(
    spec: TfliteSpec, sample_format: SampleFormat, examples: Mapping[str, Array], *, base: Path
) -> Calibration:
    """Read the calibration data of a spec, or draw it if it is `random`.

    Raises:
        TfbundleError: as `read`.
    """
    if spec.calibration != RANDOM:
        return read(spec.calibration or "", sample_format, base=base, images=spec.images)
    rng, sizes = np.random.default_rng(0), {}
    for input_ in sample_format.signature.inputs:
        shape = sample_format.shapes[input_.name]
        sizes.update({dim: size for dim, size in zip(input_.dims, shape, strict=True) if isinstance(dim, str)})
    draws = [input_draws.resample(sample_format.signature, examples, sizes, rng) for _ in range(FEW_SAMPLES)]
    samples = [
        sample for index, call in enumerate(draws) for sample in samples_of_call(f"random draw {index}", call, sample_format)
    ]
    return _calibration(RANDOM, "random values of the example's nature, no data", samples, sample_format)


def read(text: str, sample_format: SampleFormat, *, base: Path, images: ImageSpec | None = None) -> Calibration:
    """Read and check calibration data.

    Args:
        text: the value of `--calibration`.
        sample_format: the format of a sample.
        base: folder that a relative path starts from.
        images: the preprocessing of images.

    Raises:
        UsageError: the source does not exist, or the model cannot take a sample; the message names the sample.
        SourceError: the user's function does not exist or raises an error; the message shows its line.
        MissingExtraError: the source has images, and Pillow is not installed.
    """
    calibration, files = _read(text, sample_format, base, images)
    if not files:
        return calibration
    whole = base / text
    sha256 = files_sha256(files, whole) if whole.is_dir() else file_sha256(files[0])
    return replace(calibration, files={"files": len(files), "files_sha256": sha256})


def _read(text: str, sample_format: SampleFormat, base: Path, images: ImageSpec | None) -> tuple[Calibration, list[Path]]:
    """Return the calibration data and the files that were read: the data themselves, or the .py file of a function."""
    path = base / text
    if path.is_dir():
        from bundler.adapters.preprocessing import SUFFIXES, ImageReader

        if any(_files(path, (".npz",))):
            if any(_files(path, SUFFIXES)):
                raise UsageError(
                    f"The folder {path} holds both .npz files and images.",
                    fix="keep only one kind in it",
                    code="TFB4002",
                )
            samples = _npz_folder(path, sample_format)
            return _calibration(text, "a folder of .npz files", samples, sample_format), list(_files(path, (".npz",)))
        reader = ImageReader.of(sample_format, images)
        files = list(_files(path, SUFFIXES))
        used = _spread(files)
        samples = [reader.sample(file, path) for file in used]
        return _calibration(text, reader.rule, samples, sample_format, len(files)), used
    if path.is_file() and path.suffix == ".npz":
        rule = "an .npz file, samples on the first axis"
        return _calibration(text, rule, _npz_stacked(path, sample_format), sample_format), [path]
    if ":" in text:
        samples = list(itertools.islice(_function_samples(text, sample_format, base), MAX_SAMPLES))
        code = user_function.code_file(text, base)
        return _calibration(text, "a function", samples, sample_format), [code] if code else []
    raise _no_source(text, path)


def _no_source(text: str, path: Path) -> UsageError:
    return UsageError(
        f"The calibration data {text!r} is not an .npz file, a folder, or module:function.",
        where=str(path),
        fix="give an .npz with one array per input, a folder of .npz files or images, or file.py:function",
        code="TFB4002",
    )


def _calibration(
    source: str, rule: str, samples: Sequence[Sample], sample_format: SampleFormat, available: int | None = None
) -> Calibration:
    if len(samples) < MIN_SAMPLES:
        raise UsageError(
            f"The calibration data has {plural(len(samples), 'sample')}; "
            f"int8 needs at least {MIN_SAMPLES}.",
            where=source,
            fix="give 100 or more representative samples of the model's inputs",
            code="TFB4004",
        )
    count = len(samples) if available is None else available
    calibration = Calibration(source, rule, tuple(_spread(samples)), count, sample_format)
    ranges = calibration.ranges()
    if ranges and all(input_range.low == input_range.high for input_range in ranges):
        values = ", ".join(f"{input_range.name} {input_range.low:g}" for input_range in ranges)
        raise UsageError(
            f"Every value of the calibration data is the same ({values}), so that there are no ranges to measure.",
            where=source,
            fix="give samples of real inputs; if they are, check how they are read and preprocessed",
            code="TFB4004",
        )
    return calibration


def _spread(items: Sequence[Any]) -> list[Any]:
    """Return at most MAX_SAMPLES items, evenly spread over all."""
    if len(items) <= MAX_SAMPLES:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, MAX_SAMPLES).round().astype(int)]


def _files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            yield path


def _open_npz(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise UsageError(
            f"The calibration file cannot be read: {exc}.",
            where=str(path),
            fix="write it with numpy.savez",
            code="TFB4002",
        ) from exc


def _npz_stacked(path: Path, sample_format: SampleFormat) -> list[Sample]:
    arrays = _open_npz(path)
    _check_names(arrays, sample_format, str(path))
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        fix = "give every input an array with the same number of samples"
        raise UsageError(
            f"The arrays have different numbers of samples: {counts}.", where=str(path), fix=fix, code="TFB4003"
        )
    indices = range(next(iter(counts.values())))
    rows = ((f"{path.name}[{i}]", {name: array[i] for name, array in arrays.items()}) for i in indices)
    return [_checked(where, row, sample_format) for where, row in rows]


def _npz_folder(folder: Path, sample_format: SampleFormat) -> list[Sample]:
    samples: list[Sample] = []
    for path in _files(folder, (".npz",)):
        samples += samples_of_call(str(path.relative_to(folder)), _open_npz(path), sample_format)
    return samples


def samples_of_call(where: str, arrays: Mapping[str, Array], sample_format: SampleFormat) -> list[Sample]:
    """Split one call of the model into samples; arrays without the batch axis are one sample.

    Raises:
        UsageError: names, shapes or dtypes differ from the model's, or a value is not finite.
    """
    _check_names(arrays, sample_format, where)
    specs = sample_format.signature.inputs
    axes = {s.name: batch_axis(s) for s in specs}
    batched = {s.name for s in specs if axes[s.name] is not None and arrays[s.name].ndim == len(s.dims)}
    sizes = {arrays[name].shape[axes[name] or 0] for name in batched}
    if not batched:
        return [_checked(where, arrays, sample_format)]
    if len(sizes) != 1:
        fix = "give all inputs the same batch size"
        raise UsageError(
            f"The inputs have different batch sizes: {sorted(sizes)}.", where=where, fix=fix, code="TFB4003"
        )
    return [
        _checked(
            f"{where}[{i}]",
            {name: np.take(a, i, axis=axes[name]) if name in batched else a for name, a in arrays.items()},
            sample_format,
        )
        for i in range(sizes.pop())
    ]


def _check_names(arrays: Mapping[str, Array], sample_format: SampleFormat, where: str) -> None:
    names = sample_format.signature.input_names
    unknown = sorted(set(arrays) - set(names))
    missing = [name for name in names if name not in arrays]
    if unknown or missing:
        parts = [f"has no array for {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(unknown)}, which the model does not have as an input"] if unknown else []
        raise UsageError(
            f"The {sample_format.purpose.lower()} data {' and '.join(parts)}.",
            where=where,
            fix=f"name the arrays after the inputs: {', '.join(names)}",
            code="TFB4003",
        )


def _checked(where: str, arrays: Mapping[str, Array], sample_format: SampleFormat) -> Sample:
    for spec in sample_format.signature.inputs:
        array, shape = arrays[spec.name], sample_format.sample_shape(spec)
        if array.shape != shape:
            raise _sample_error(
                sample_format, where, spec.name, f"the shape {list(array.shape)} instead of {list(shape)} (without the batch)",
                "give every sample this shape; tflite.dims in bundle.yaml sets dynamic dims",
            )  # fmt: skip
        if array.dtype.name != spec.dtype:
            raise _sample_error(
                sample_format, where, spec.name, f"the dtype {array.dtype.name} instead of {spec.dtype}",
                f"convert it with .astype({spec.dtype!r})",
            )  # fmt: skip
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _sample_error(
                sample_format, where, spec.name, "values that are NaN or infinite", "remove the sample: ranges must be finite"
            )
    return Sample(where, dict(arrays))


def _sample_error(sample_format: SampleFormat, where: str, name: str, what: str, fix: str) -> UsageError:
    return UsageError(
        f"{sample_format.purpose} sample {where}: the input {name!r} has {what}.", fix=fix, code="TFB4003"
    )


def _function_samples(text: str, sample_format: SampleFormat, base: Path) -> Iterator[Sample]:
    items = function_items(text, user_function.find(text, base, what="calibration"), "calibration")
    for index, item in enumerate(items):
        where = f"{text} item {index}"
        yield from samples_of_call(where, as_dict(item, sample_format, where), sample_format)


def function_items(text: str, function: Any, what: str) -> Iterator[Any]:
    """Yield the items of a user's function; errors in it are shown with the user's line.

    Args:
        text: name of the function, for messages.
        function: the function.
        what: its purpose, for messages.
    """
    from bundler.sources.user_code import user_code

    with user_code(f"The {what} function {text} raised"):
        result = function()
        if not isinstance(result, Iterable):
            kind = type(result).__name__
            raise UsageError(
                f"The {what} function {text} must yield samples, but it returned {kind}.",
                fix="use yield",
                code="TFB4002",
            )
        items = iter(result)
    while True:
        with user_code(f"The {what} function {text} raised"):
            item = next(items, _END)
        if item is _END:
            return
        yield item


def as_dict(item: Any, sample_format: SampleFormat, where: str) -> dict[str, Array]:
    """Convert an item of a user's function to arrays by input name.

    Raises:
        UsageError: the item's number of arrays differs from the model's number of inputs.
    """
    names = sample_format.signature.input_names
    if isinstance(item, Mapping):
        return {str(name): np.asarray(value) for name, value in item.items()}
    values = item if isinstance(item, tuple | list) else (item,)
    if len(values) != len(names):
        raise UsageError(
            f"{sample_format.purpose} sample {where} has {plural(len(values), 'array')}, "
            f"but the model takes {', '.join(names)}.",
            fix="yield a dict by input name, or one array per input in this order",
            code="TFB4003",
        )
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
