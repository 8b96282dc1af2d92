"""Calibration data: from what the integer variants take their ranges of values.

`--calibration` is one of

1. an .npz: one array an input, by its name; samples stand on the first axis, the batch axis is left out;
2. a folder of .npz files: each one call of the model, or one sample (without the batch axis);
3. a folder of images, see `bundler.adapters.preprocessing`;
4. `module:function` or `file.py:function`, which yields calls or samples: a dict by input name, a tuple or
   list in the model's order, or the array itself for a model with one input;
5. `random`, if the user insists: 32 draws of the example's nature (`bundler.values.input_draws`).

Arrays are in the PyTorch model's own order of axes. At least 8 samples are needed, fewer than 32 get a warning; of more
than 256, 256 are used.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundler.adapters.samples import Sample, SampleFormat
from bundler.errors import UsageError
from bundler.tflite import user_function
from bundler.tflite.ranges import InputRange
from bundler.values import input_draws
from bundler.values.arrays import Array

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec
    from bundler.spec.signature_spec import ImageSpec


MIN_SAMPLES, FEW_SAMPLES, MAX_SAMPLES = 8, 32, 256
RANDOM = "random"
_END = object()


@dataclass(frozen=True)
class Calibration:
    """Checked samples.

    Attributes:
        rule: how they were read, for the report.
        available: how many there were; `samples` holds at most 256 of them.
    """

    source: str
    rule: str
    samples: tuple[Sample, ...]
    available: int
    layout: SampleFormat

    def calls(self) -> Iterator[dict[str, Array]]:
        """Inputs of one call after the other; the last is filled up from the start."""
        size = self.layout.batch
        for start in range(0, len(self.samples), size):
            yield self.layout.stacked([self.samples[(start + i) % len(self.samples)].arrays for i in range(size)])

    def ranges(self) -> tuple[InputRange, ...]:
        """What every input's values span."""
        return tuple(InputRange.of(spec.name, self.samples) for spec in self.layout.signature.inputs)

    def warnings(self) -> Iterator[str]:
        """What makes the ranges doubtful."""
        if self.source == RANDOM:
            yield "the ranges are those of random calibration data: the accuracy on real data is not known"
        elif len(self.samples) < FEW_SAMPLES:
            yield f"only {len(self.samples)} calibration samples; with 100 or more the ranges are those of real data"
        for found in self.ranges():
            if found.has_outliers:
                yield found.explain()

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "rule": self.rule,
            "samples": len(self.samples),
            "available": self.available,
            "inputs": {found.name: found.to_json() for found in self.ranges()},
        }


def check_source(spec: TfliteSpec, base: Path) -> None:
    """Find data that is not there, or random data that nobody insisted on, before any work is done; nothing is read.

    Raises:
        UsageError: it is neither a file, a folder nor module:function, or random.
        SourceError: the file of the function is not there.
    """
    text = spec.calibration or ""
    if text == RANDOM:
        if not spec.allow_random_calibration:
            raise UsageError(
                "Random calibration data gives int8 ranges that real data does not have; the file would be accurate by luck.",
                fix="give real samples (--calibration), or insist with --allow-random-calibration to try sizes and speed",
            )
    elif not (base / text).exists():
        if ":" not in text:
            raise _no_source(text, base / text)
        user_function.check(text, base, what="calibration")


def of_spec(spec: TfliteSpec, layout: SampleFormat, examples: Mapping[str, Array], *, base: Path) -> Calibration:
    """The calibration data of a spec.

    Raises:
        TfbundleError: as `read`.
    """
    if spec.calibration != RANDOM:
        return read(spec.calibration or "", layout, base=base, images=spec.images)
    rng, sizes = np.random.default_rng(0), {}
    for one in layout.signature.inputs:
        sizes.update({dim: n for dim, n in zip(one.dims, layout.shapes[one.name], strict=True) if isinstance(dim, str)})
    drawn = [input_draws.resample(layout.signature, examples, sizes, rng) for _ in range(FEW_SAMPLES)]
    samples = [sample for index, call in enumerate(drawn) for sample in of_call(f"random draw {index}", call, layout)]
    return _chosen(RANDOM, "random values of the example's nature, no data", samples, layout)


def read(text: str, layout: SampleFormat, *, base: Path, images: ImageSpec | None = None) -> Calibration:
    """Read and check calibration data.

    Args:
        text: what stands after `--calibration`; a relative path is relative to `base`.
        images: how images are prepared.

    Raises:
        UsageError: nothing there, or a sample that the model cannot take; the message names it.
        SourceError: the user's function is not there or raises; with its line.
        MissingExtraError: images without Pillow.
    """
    path = base / text
    if path.is_dir():
        from bundler.adapters.preprocessing import SUFFIXES, ImageReader

        if any(_files(path, (".npz",))):
            if any(_files(path, SUFFIXES)):
                raise UsageError(f"The folder {path} holds .npz files and images.", fix="keep one kind in it")
            return _chosen(text, "a folder of .npz files", _npz_folder(path, layout), layout)
        reader = ImageReader.of(layout, images)
        found = list(_files(path, SUFFIXES))
        samples = [reader.sample(p, path) for p in _spread(found)]
        return _chosen(text, reader.rule, samples, layout, len(found))
    if path.is_file() and path.suffix == ".npz":
        return _chosen(text, "an .npz file, samples on the first axis", _npz_stacked(path, layout), layout)
    if ":" in text:
        samples = list(itertools.islice(_yielded(text, layout, base), MAX_SAMPLES))
        return _chosen(text, "a function", samples, layout)
    raise _no_source(text, path)


def _no_source(text: str, path: Path) -> UsageError:
    return UsageError(
        f"The calibration data {text!r} is no .npz, no folder, and no module:function.",
        where=str(path),
        fix="give an .npz with one array an input, a folder of .npz or images, or file.py:function",
    )


def _chosen(
    source: str, rule: str, samples: Sequence[Sample], layout: SampleFormat, available: int | None = None
) -> Calibration:
    if len(samples) < MIN_SAMPLES:
        raise UsageError(
            f"The calibration data has {len(samples)} sample(s); int8 needs at least {MIN_SAMPLES}.",
            where=source,
            fix="give 100 or more samples of what the model will see",
        )
    count = len(samples) if available is None else available
    return Calibration(source, rule, tuple(_spread(samples)), count, layout)


def _spread(items: Sequence[Any]) -> list[Any]:
    """At most MAX_SAMPLES items, evenly spread over all."""
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
            f"The calibration file cannot be read: {exc}", where=str(path), fix="write it with numpy.savez"
        ) from exc


def _npz_stacked(path: Path, layout: SampleFormat) -> list[Sample]:
    arrays = _open_npz(path)
    _check_names(arrays, layout, str(path))
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise UsageError(f"The arrays have different numbers of samples: {counts}.", where=str(path))
    whole = range(next(iter(counts.values())))
    rows = ((f"{path.name}[{i}]", {name: array[i] for name, array in arrays.items()}) for i in whole)
    return [_checked(where, row, layout) for where, row in rows]


def _npz_folder(folder: Path, layout: SampleFormat) -> list[Sample]:
    samples: list[Sample] = []
    for path in _files(folder, (".npz",)):
        samples += of_call(str(path.relative_to(folder)), _open_npz(path), layout)
    return samples


def of_call(where: str, arrays: Mapping[str, Array], layout: SampleFormat) -> list[Sample]:
    """The samples of one call of the model (or of one sample, without the batch axis).

    Raises:
        UsageError: names, shapes or dtypes are not the model's, or a value is not finite.
    """
    _check_names(arrays, layout, where)
    specs = layout.signature.inputs
    axes = {s.name: layout.batch_axis(s) for s in specs}
    batched = {s.name for s in specs if axes[s.name] is not None and arrays[s.name].ndim == len(s.dims)}
    sizes = {arrays[name].shape[axes[name] or 0] for name in batched}
    if not batched:
        return [_checked(where, arrays, layout)]
    if len(sizes) != 1:
        raise UsageError(f"The inputs disagree on the size of the batch: {sorted(sizes)}.", where=where)
    return [
        _checked(
            f"{where}[{i}]",
            {name: np.take(a, i, axis=axes[name]) if name in batched else a for name, a in arrays.items()},
            layout,
        )
        for i in range(sizes.pop())
    ]


def _check_names(arrays: Mapping[str, Array], layout: SampleFormat, where: str) -> None:
    names = layout.signature.input_names
    unknown = sorted(set(arrays) - set(names))
    missing = [name for name in names if name not in arrays]
    if unknown or missing:
        parts = [f"has no array for {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(unknown)}, which the model does not take"] if unknown else []
        raise UsageError(
            f"The {layout.purpose.lower()} data {' and '.join(parts)}.",
            where=where,
            fix=f"name the arrays as the inputs: {', '.join(names)}",
        )


def _checked(where: str, arrays: Mapping[str, Array], layout: SampleFormat) -> Sample:
    for spec in layout.signature.inputs:
        array, shape = arrays[spec.name], layout.sample_shape(spec)
        if array.shape != shape:
            raise _wrong(
                layout, where, spec.name, f"the shape {list(array.shape)}, wanted is {list(shape)} without the batch",
                "bring every sample to this shape; tflite.dims in bundle.yaml sets dynamic dims",
            )  # fmt: skip
        if array.dtype.name != spec.dtype:
            raise _wrong(
                layout, where, spec.name, f"the dtype {array.dtype.name}, wanted is {spec.dtype}",
                f"convert it with .astype({spec.dtype!r})",
            )  # fmt: skip
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _wrong(layout, where, spec.name, "NaN or infinity in it", "drop the sample: ranges are finite")
    return Sample(where, dict(arrays))


def _wrong(layout: SampleFormat, where: str, name: str, what: str, fix: str) -> UsageError:
    return UsageError(f"{layout.purpose} sample {where}: the input {name!r} has {what}.", fix=fix)


def _yielded(text: str, layout: SampleFormat, base: Path) -> Iterator[Sample]:
    items = called(text, user_function.find(text, base, what="calibration"), "calibration")
    for index, item in enumerate(items):
        yield from of_call(f"{text} item {index}", as_dict(item, layout, f"{text} item {index}"), layout)


def called(text: str, function: Any, what: str) -> Iterator[Any]:
    """What the user's function yields; whatever it raises is told with its line."""
    from bundler.sources.user_code import user_code

    with user_code(f"The {what} function {text} raised"):
        found = function()
        if not isinstance(found, Iterable):
            kind = type(found).__name__
            raise UsageError(f"The {what} function {text} gave a {kind}.", fix="let it yield the samples")
        items = iter(found)
    while True:
        with user_code(f"The {what} function {text} raised"):
            item = next(items, _END)
        if item is _END:
            return
        yield item


def as_dict(item: Any, layout: SampleFormat, where: str) -> dict[str, Array]:
    """What a function yielded as arrays by input name.

    Raises:
        UsageError: it has another number of arrays than the model.
    """
    names = layout.signature.input_names
    if isinstance(item, Mapping):
        return {str(name): np.asarray(value) for name, value in item.items()}
    values = item if isinstance(item, tuple | list) else (item,)
    if len(values) != len(names):
        raise UsageError(
            f"{layout.purpose} sample {where} has {len(values)} arrays; the model takes {', '.join(names)}.",
            fix="yield a dict by input name, or one array an input in this order",
        )
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
