"""The comparison of a new version with the one in service, before it is published (`tfbundle build --against`).

1. Clients of the version in service can send the same requests to the new one (`bundler.validation.interface`).
2. Both are loaded by one embedded server, with the flags that the bundle is served with.
3. They answer the golden calls of both versions, and, with `tflite.evaluate`, the labelled data: the share of rows that they
   answer alike (`bundler.validation.agreement`), and the metric of each.
4. A lone client sends the smallest golden call to each of them in turns, which gives the latency.
5. The bounds of the section `against` decide (`bundler.validation.bounds`).
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bundler.adapters.samples import SampleFormat
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest, Record, files_under
from bundler.errors import UsageError
from bundler.tflite.evaluate import Evaluation, Predict
from bundler.validation.agreement import Tally
from bundler.validation.bounds import Compared, Figures
from bundler.validation.interface import incompatibilities
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.reference import to_served
from bundler.values.signature import Signature
from serving.client.client import Client
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.version_policy import Specific
from serving.errors import RequestError
from serving.golden.data import Golden, GoldenCase, batch_size
from serving.launch.server_process import server_process
from serving.server.config.files import bundle_settings

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import BundleSpec, ModelSpec

ROUNDS = 200
"""The most calls of each version for the latency."""

SECONDS = 4.0
"""The longest time that the latency is measured for."""

_LEAST_ROUNDS = 3
_TIMEOUT = 600.0


@dataclass(frozen=True)
class Version:
    """A version of a model on disk.

    Attributes:
        number: its number.
        layout: where its files are: the bundle, or the staging folder of a build.
        record: its entry of bundle.json.
    """

    number: int
    layout: BundleLayout
    record: Record

    @property
    def signatures(self) -> dict[str, Signature]:
        """Its signatures, by name."""
        return {name: Signature.from_json(value) for name, value in self.record["signatures"].items()}

    @property
    def permutations(self) -> dict[str, Sequence[int]]:
        """The served order of axes of its inputs, where that is not PyTorch's."""
        return dict(self.record.get("permutations", {}))

    def golden(self, model: str) -> Golden | None:
        """Return its golden data; None for an adopted version, which has none."""
        file = self.layout.golden_file(model, self.number)
        return Golden.load(file) if file.is_file() else None

    def size_bytes(self, model: str) -> int:
        """Return the size of its folder in models/."""
        return sum(file.stat().st_size for file in files_under(self.layout.version_dir(model, self.number)))


def in_service(manifest: Manifest | None, model: str, version: str) -> int | None:
    """Return the version of a model that a new one is compared with; None if the model has no version yet.

    Args:
        manifest: the bundle so far; None for a new bundle.
        model: name of the model.
        version: a version, or a label.

    Raises:
        UsageError: the model has versions, but not this one, or no such label.
    """
    versions = manifest.versions(model) if manifest else []
    if manifest is None or not versions:
        return None
    labels: Mapping[str, int] = manifest.spec["serving"]["labels"].get(model, {})
    number = int(version) if version.isdecimal() else labels.get(version)
    if number in versions:
        return number
    known = [*map(str, versions), *(label for label, target in labels.items() if target in versions)]
    what = f"version {version}" if version.isdecimal() else f"label {version!r}"
    raise UsageError(
        f"The model {model!r} has no {what} to compare with.",
        fix=f"choose one of: {', '.join(known)}; or set the label with `tfbundle promote DIR`",
        code="TFB1401",
    )


def files_in_service(spec: BundleSpec) -> Callable[[Manifest], Callable[[str], bool]]:
    """Return which files of a bundle the comparisons of a build read: those of the SavedModels in service.

    Returns:
        A function of the bundle so far, which returns whether a path of bundle.json is among them. It raises as `in_service`.
    """
    compared = {model.name: model.against.version for model in spec.models if model.against.version}

    def wanted(manifest: Manifest) -> Callable[[str], bool]:
        versions = {name: in_service(manifest, name, version) for name, version in compared.items()}
        prefixes = tuple(f"models/{name}/{number}/" for name, number in versions.items() if number is not None)
        return lambda path: path.startswith(prefixes)

    return wanted


def compare_versions(
    spec: ModelSpec, versions: tuple[Version, Version], manifest: Manifest, work: Path, base: Path
) -> Compared:
    """Compare two versions.

    Args:
        spec: the model, with the bounds.
        versions: the version in service, and the new one.
        manifest: the bundle with the new version, whose settings both are served with.
        work: a new folder for temporary files, on the file system of the bundle.
        base: folder that relative paths of the spec start from.

    Raises:
        UsageError, SourceError: the evaluate function cannot be used.
        GoldenError: golden data are damaged.
        ServingError: the server cannot load the versions.
    """
    before, after = versions
    problems = tuple(incompatibilities(before.signatures, after.signatures))
    sizes = Figures(before.size_bytes(spec.name), after.size_bytes(spec.name))
    version = spec.against.version or ""
    compared = Compared(before.number, "" if version.isdecimal() else version, sizes, problems=problems)
    if problems:
        return compared
    with _served(spec.name, versions, manifest, work) as client:
        return _Comparison(spec, *versions, client, base).run(compared)


@contextmanager
def _served(model: str, versions: Sequence[Version], manifest: Manifest, work: Path) -> Iterator[Client]:
    """Serve versions with the flags of a bundle, in a process of its own; their files are links."""
    layout, settings = BundleLayout(work / "served"), BundleLayout(work / "settings")
    for version in versions:
        source = version.layout.version_dir(model, version.number)
        shutil.copytree(source, layout.version_dir(model, version.number), copy_function=os.link)
    served = ServedModel(model, str(layout.model_dir(model).absolute()), Specific(tuple(v.number for v in versions)))
    config = work / "models.config"
    config.write_text(ModelServerConfig((served,)).to_text(), "utf-8")
    settings.root.mkdir()
    settings.manifest.write_bytes(manifest.to_bytes())
    chosen = bundle_settings(settings.root)
    flags = [
        "--allow_unsafe_ops=true",
        f"--prefer_tflite_model={str(chosen['prefer_tflite']).lower()}",
        f"--mixed_precision={chosen['mixed_precision']}",
    ]
    with server_process(config, flags) as endpoints, Client(endpoints.grpc_target, timeout=_TIMEOUT) as client:
        for version in versions:
            client.wait_until_ready(model, version.number, _TIMEOUT)
        yield client


@dataclass(frozen=True)
class _Comparison:
    """The measurements on a server that has loaded both versions."""

    spec: ModelSpec
    before: Version
    after: Version
    client: Client
    base: Path

    def run(self, compared: Compared) -> Compared:
        golden, cases = self._golden()
        compared = replace(compared, golden=golden.shares, golden_rows=golden.most_rows, failure=golden.failure)
        if self.spec.tflite.evaluate:
            compared = self._with_metric(compared, self.spec.tflite.evaluate)
        if compared.failure or not cases:
            return compared
        return replace(compared, latency_ms=self._latency(min(cases, key=lambda case: batch_size(case.inputs))))

    def _golden(self) -> tuple[Tally, list[GoldenCase]]:
        """Return the agreement on the golden calls of both versions, and those of serving_default that both answer."""
        tally, answered = Tally(self.spec.against.agreement_tolerance), []
        for version in (self.before, self.after):
            golden = version.golden(self.spec.name)
            if golden is None:
                continue
            for case in golden.cases:
                if case.signature not in self.before.signatures:
                    continue
                inputs = golden.inputs(case)
                if self._tallied(tally, case.signature, inputs) and case.signature == SERVING_DEFAULT:
                    answered.append(replace(case, inputs=inputs))
        return tally, answered

    def _tallied(self, tally: Tally, signature: str, inputs: dict[str, Array]) -> bool:
        """Count a call that the version in service answers. Return whether both answer it."""
        try:
            want = self._ask(self.before, signature, inputs)
        except RequestError:
            return False  # a size that only the new version takes
        prefix = "" if signature == SERVING_DEFAULT else f"{signature}/"
        try:
            got = self._ask(self.after, signature, inputs)
        except RequestError as exc:
            tally.failure = tally.failure or f"{signature}: {exc.what}"
            got = {}
        tally.add(want, got, prefix=prefix)
        return bool(got)

    def _ask(self, version: Version, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self.client.predict(self.spec.name, inputs, version=version.number, signature=signature)

    def _with_metric(self, compared: Compared, text: str) -> Compared:
        """Add the metric of each version, and their agreement on all calls that the evaluate function makes."""
        shapes = self._pytorch_shapes()
        signature = self._pytorch_signature()
        function = Evaluation.of(text, SampleFormat(signature, shapes), base=self.base)
        tally = Tally(self.spec.against.agreement_tolerance)

        def predicted(version: Version, call: dict[str, Array]) -> dict[str, Array]:
            return self._ask(version, SERVING_DEFAULT, to_served(call, version.permutations))

        def paired(call: dict[str, Array]) -> dict[str, Array]:
            got = predicted(self.after, call)
            tally.add(predicted(self.before, call), got)
            return got

        before = function.measure(Predict(signature, partial(predicted, self.before)))
        after = function.measure(Predict(signature, paired))
        return replace(
            compared, function=text, metric=Figures(before, after), labelled=tally.shares, labelled_rows=tally.most_rows
        )

    def _pytorch_signature(self) -> Signature:
        """Return serving_default with the dims of its inputs in PyTorch's order, in which data of the user are."""
        served = self.after.signatures[SERVING_DEFAULT]
        inputs = []
        for spec in served.inputs:
            order = self.after.permutations.get(spec.name)
            dims = spec.dims if order is None else tuple(spec.dims[int(axis)] for axis in np.argsort(order))
            inputs.append(replace(spec, dims=dims))
        return replace(served, inputs=tuple(inputs))

    def _pytorch_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each input in the smallest golden call, in PyTorch's order."""
        golden = self.after.golden(self.spec.name)
        cases = [case for case in golden.cases if case.signature == SERVING_DEFAULT] if golden else []
        smallest = min(cases, key=lambda case: batch_size(case.inputs))
        orders = {name: np.argsort(order) for name, order in self.after.permutations.items()}
        return {
            name: tuple(array.shape[int(axis)] for axis in orders.get(name, range(array.ndim)))
            for name, array in smallest.inputs.items()
        }

    def _latency(self, case: GoldenCase) -> Figures:
        """Return the median latency of each version in ms: they take turns, each first as often as second."""
        calls = [
            self.client.prepare(self.spec.name, case.inputs, version=version.number, signature=case.signature)
            for version in (self.before, self.after)
        ]
        times: tuple[list[float], list[float]] = ([], [])
        for call in (*calls, *calls):
            call()
        deadline = time.perf_counter() + SECONDS
        for number in range(ROUNDS):
            if number >= _LEAST_ROUNDS and time.perf_counter() > deadline:
                break
            for index in (0, 1) if number % 2 else (1, 0):
                times[index].append(_milliseconds(calls[index]))
        before, after = map(statistics.median, times)
        return Figures(before, after)


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3

