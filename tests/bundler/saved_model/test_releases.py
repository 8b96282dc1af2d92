"""TensorFlow's releases as recorded, and the targets that name them."""

from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.saved_model.op_values import type_code, type_name
from bundler.saved_model.releases import DATA, is_internal, known_releases, parse_target, read_release, release_of_tag
from serving.protocol.unsafe_ops import REVIEWED


def test_every_minor_release_from_2_12_on_is_known() -> None:
    assert known_releases() == tuple(f"2.{minor}" for minor in range(12, 22))
    assert DATA.stat().st_size < 300_000


def test_the_newest_release_has_the_operators_of_the_libraries_without_those_of_the_python_package() -> None:
    """TensorFlow's Python package registers operators for its own tests, and some of other libraries; no server has them."""
    newest = read_release(known_releases()[-1])
    reviewed = set(REVIEWED.read_text().split())
    assert set(newest._ops) < reviewed
    assert len(newest._ops) > 1600
    assert {"Foo1", "TestStringOutput", "AudioMicrofrontend"} <= reviewed - set(newest._ops)
    assert not any(map(is_internal, newest._ops))


def test_later_releases_add_operators_attributes_and_kernels() -> None:
    """Each was seen in the wheels of both releases."""
    assert not read_release("2.19").has_op("DecodeWebP") and read_release("2.20").has_op("DecodeWebP")
    assert "index_type" not in read_release("2.12").attributes("TopKV2")
    index_type = read_release("2.13").attributes("TopKV2")["index_type"]
    assert (index_type.type, index_type.default) == ("type", {"type": type_code(3)})
    assert {"Tidx": type_code(19)} not in read_release("2.17").kernels("Range")
    assert {"Tidx": type_code(19)} in read_release("2.18").kernels("Range")
    assert (type_name(3), type_name(19)) == ("int32", "float16")


def test_an_operator_that_was_removed_is_gone() -> None:
    assert read_release("2.18").has_op("TfLiteSubgraphExecute")
    assert not read_release("2.19").has_op("TfLiteSubgraphExecute")


def test_an_operator_without_constraints_has_one_kernel_and_one_without_kernels_has_none() -> None:
    release = read_release("2.21")
    assert release.kernels("NoOp") == [{}]
    assert release.kernels("RFFTND") == []


@pytest.mark.parametrize(
    "target", ["tensorflow-serving==2.13", "tensorflow-serving==2.13.1", "TensorFlow_Serving == v2.13.0-gpu"]
)
def test_a_target_names_a_minor_release(target: str) -> None:
    assert parse_target(target).name == "2.13"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("2.13", r"--target '2\.13' is not SERVER==VERSION"),
        ("tensorflow-serving>=2.13", "is not SERVER==VERSION"),
        ("tensorflow-serving==", "is not SERVER==VERSION"),
        ("tensorflow-serving==latest", "is not SERVER==VERSION"),
        ("", "is not SERVER==VERSION"),
        ("\x1b[31m==2.13", r"unknown server '\\x1b\[31m'"),
        ("torchserve==2.13", "unknown server 'torchserve'"),
        ("tensorflow-serving==1.15", r"no operators are recorded for TensorFlow Serving 1\.15"),
        ("tensorflow-serving==2.99", r"no operators are recorded for TensorFlow Serving 2\.99"),
    ],
)
def test_a_wrong_target_is_refused_with_what_can_be_given(target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        parse_target(target)
    assert failure.value.fix == (
        "give --target tensorflow-serving==VERSION with a version from 2.12 to 2.21, e.g. tensorflow-serving==2.13"
    )


@pytest.mark.parametrize(
    ("tag", "release"),
    [
        ("2.19.1", "2.19"), ("2.19.1-gpu", "2.19"), ("2.19.0-rc1", "2.19"), ("2.5.4-devel-gpu", "2.5"), ("2.18", "2.18"),
        ("latest", None), ("latest-gpu", None), ("nightly", None), ("2", None), ("2.19.1-mine", None),
    ],
)  # fmt: skip
def test_the_tag_of_an_image_names_a_release_or_none(tag: str, release: str | None) -> None:
    assert release_of_tag(tag) == release
