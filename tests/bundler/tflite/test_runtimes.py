"""The oldest runtime of a file, known faults, and what a release lacks."""

from __future__ import annotations

import re

import pytest

from bundler.errors import UsageError
from bundler.tflite.runtimes import KNOWN_BAD, known_bad, known_runtimes, lacks, parse_target, requirements_of
from tests.bundler.tflite.single_op import single_op

ADD = single_op("ADD", 1, "FLOAT32", options="AddOptions")
INT8_DIV = single_op("DIV", 1, "INT8", scales=1, options="DivOptions")
INT8_MATMUL = single_op("BATCH_MATMUL", 2, "INT8", scales=1, options="BatchMatMulOptions")


def test_releases_have_operators_and_kernels() -> None:
    assert [str(known_runtimes("litert")[0]), str(known_runtimes("tflite-runtime")[0])] == [
        "litert 1.0.1", "tflite-runtime 2.14.0",
    ]  # fmt: skip
    numbers = [runtime.number for runtime in known_runtimes("litert")]
    assert numbers == sorted(numbers) and numbers[-1] >= (2, 3, 0)
    versions = [runtime.newest_version("FULLY_CONNECTED") or 0 for runtime in known_runtimes("litert")]
    assert versions == sorted(versions) and (versions[0], versions[-1]) == (13, 14)
    assert parse_target("tflite-runtime==2.14").newest_version("FULLY_CONNECTED") == 10
    assert parse_target("tflite-runtime==2.14").newest_version("DILATE") is None


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("litert==1.4", "litert 1.4.0"), ("litert==2.1", "litert 2.1.0"), ("ai-edge-litert == 2.1.6", "litert 2.1.6"),
        ("TFLite_Runtime==2.14.0", "tflite-runtime 2.14.0"),
    ],
)  # fmt: skip
def test_target_without_patch_number_is_the_oldest_release(text: str, release: str) -> None:
    assert str(parse_target(text)) == release


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2.1", "is not RUNTIME==VERSION"), ("onnx==1.4", "unknown runtime 'onnx'"),
        ("litert==3.7", "no operators are recorded for litert 3.7"),
    ],
)  # fmt: skip
def test_unknown_target_is_refused_with_the_known_ones(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse_target(text)
    assert "2.14.0" in str(caught.value.fix) and "1.4.0" in str(caught.value.fix)


def test_float_file_runs_on_every_release() -> None:
    requirements = requirements_of(ADD)
    assert requirements.minimum == {"litert": "1.0.1", "tflite-runtime": "2.14.0"} and requirements.known_bad == ()


def test_kernel_that_old_releases_lack_raises_the_minimum() -> None:
    assert requirements_of(INT8_DIV).minimum == {"litert": "1.4.0", "tflite-runtime": None}
    (lack,) = lacks(INT8_DIV, parse_target("litert==1.3"))
    assert (lack.op, lack.version, lack.layers) == ("DIV", 1, ("head",)) and "no kernel for INT8" in lack.what
    assert str(lack).startswith("DIV version 1 in head: it has no kernel for INT8 (Div only supports")


def test_wrong_products_are_a_known_fault_and_refused() -> None:
    requirements = requirements_of(INT8_MATMUL)
    assert requirements.minimum["litert"] == "1.0.1"
    (fault,) = requirements.known_bad
    assert str(fault) == "litert 2.0.2 to 2.1.2: BATCH_MATMUL of INT8 computes wrong products"
    assert "computes wrong products" in lacks(INT8_MATMUL, parse_target("litert==2.1"))[0].what
    assert lacks(INT8_MATMUL, parse_target("litert==2.1.3")) == () == lacks(INT8_MATMUL, parse_target("litert==1.4"))
    assert requirements.to_json()["known_bad"][0]["types"] == ["INT8"]


def test_slice_of_six_axes_needs_a_newer_runtime() -> None:
    six, five = (single_op("SLICE", 1, "FLOAT32", dims=(1,) * axes) for axes in (6, 5))
    assert requirements_of(six).minimum == {"litert": "2.2.0", "tflite-runtime": None}
    assert requirements_of(five).minimum == {"litert": "1.0.1", "tflite-runtime": "2.14.0"}
    assert [lack.what for lack in lacks(six, parse_target("litert==2.1"))] == ["it refuses more than five axes"]


def test_fault_that_depends_on_values_is_listed_but_not_refused() -> None:
    assert [fault.optional for fault in requirements_of(INT8_DIV).known_bad] == [True, True]
    assert lacks(INT8_DIV, parse_target("litert==2.2")) == ()


def test_version_that_no_release_has_leaves_no_runtime() -> None:
    requirements = requirements_of(single_op("ADD", 99, "FLOAT32"))
    assert requirements.minimum == {"litert": None, "tflite-runtime": None}
    assert requirements.lines() == ["oldest runtime: litert none, tflite-runtime none"]
    assert "versions up to 6" in lacks(single_op("ADD", 99, "FLOAT32"), known_runtimes("litert")[-1])[0].what


def test_every_fault_has_a_dated_source_and_known_releases() -> None:
    releases = {(runtime.family, runtime.release) for runtime in known_runtimes()}
    assert known_bad() and KNOWN_BAD.name == "known_bad.json"
    for fault in known_bad():
        assert re.search(r"20\d\d-\d\d-\d\d", fault.source)
        assert {(fault.family, release) for release in (fault.first, fault.last) if release} <= releases
