"""Tensors of serialized messages, compared with those of protobuf's messages."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ProtocolError, TensorError
from serving.protocol import tensor_wire
from serving.protocol.messages import message, serving_message
from serving.protocol.tensor_wire import predict_request, read_outputs
from serving.protocol.tensors import BFloat16Bits, element_count, from_proto, to_proto
from tests.serving.protocol.test_tensors import ARRAYS, assert_same

TensorProto, PredictResponse = message("tensorflow.TensorProto"), serving_message("PredictResponse")
LIMIT = 1 << 30


def answer(tensor: Any, name: str = "y") -> bytes:
    response = PredictResponse(model_spec={"name": "m"})
    response.outputs[name].CopyFrom(tensor)
    return bytes(response.SerializeToString())


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail if protobuf's own parser is used."""

    def fail(*_: object) -> None:
        raise AssertionError("the usual form was left to protobuf's own parser")

    monkeypatch.setattr(tensor_wire, "parse_message", fail)


@pytest.mark.usefixtures("no_parser")
@pytest.mark.parametrize("content", [True, False], ids=["content", "values"])
@pytest.mark.parametrize("name", ARRAYS)
def test_outputs_are_read_without_a_message(name: str, content: bool) -> None:
    got = read_outputs(answer(to_proto(ARRAYS[name], content=content), "ä"), LIMIT)
    assert list(got) == ["ä"]
    assert_same(got["ä"], ARRAYS[name])
    assert got["ä"].flags.writeable


@pytest.mark.usefixtures("no_parser")
@pytest.mark.parametrize("dtype", [k for k in ARRAYS if "empty" not in k])
@pytest.mark.parametrize("count", [0, 1, 5, 5000])
def test_too_few_and_surplus_values_follow_the_rules_of_messages(dtype: str, count: int) -> None:
    proto = to_proto(np.resize(ARRAYS[dtype].ravel(), count), content=False)
    for size in (0, 3, 5000, 6000):
        if dtype == "string" and size < count:
            continue  # surplus strings go through protobuf's own parser
        proto.tensor_shape.dim[0].size = size
        assert_same(read_outputs(answer(proto), LIMIT)["y"], from_proto(proto))


def test_many_values_are_those_that_few_are() -> None:
    for dtype, values in ARRAYS.items():
        if not values.size:
            continue
        many = np.resize(values.ravel(), 10_000)
        assert_same(from_proto(to_proto(many, content=False)), many)
        proto = to_proto(many, content=False)
        assert proto == TensorProto.FromString(proto.SerializeToString()), dtype
    narrow = TensorProto(dtype=6, int_val=[300, -129] * 100, tensor_shape={"dim": [{"size": 200}]})
    assert_same(from_proto(narrow), np.array([44, 127] * 100, np.int8))


PARTS = [
    b"\x08\x01", b"\x08\x03", b"\x08\x07", b"\x08\x09",  # dtype
    b"\x12\x04\x12\x02\x08\x03", b"\x12\x02\x12\x00", b"\x12\x02\x18\x01", b"\x12\x05\x12\x03\x08\xac\x02",  # tensor_shape
    b"\x2a\x04\x00\x00\x80\x3f", b"\x2d\x00\x00\x00\x40", b"\x2a\x08" + b"\x00\x00\x80\x3f" * 2,  # float_val
    b"\x3a\x02\xac\x02", b"\x38\x05", b"\x52\x01\x07", b"\x50\x08",  # int_val, int64_val
    b"\x42\x01a", b"\x42\x00", b"\x22\x04abcd", b"\x22\x00", b"\x22\x0c" + b"\x01" * 12,  # string_val, tensor_content
    b"\x18\x05", b"\xa0\x06\x01", b"\x7a\x00", b"\x08", b"\xff", b"\x10\x05",  # others, damaged
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=7))
def test_any_order_of_parts_means_what_it_means_to_protobuf(parts: list[bytes]) -> None:
    tensor = b"".join(parts)
    entry = b"\x0a\x01y\x12" + bytes([len(tensor)]) + tensor
    data = b"\x0a" + bytes([len(entry)]) + entry
    try:
        want = from_proto(PredictResponse.FromString(data).outputs["y"], 1 << 16)
    except (DecodeError, TensorError):
        with pytest.raises(ProtocolError):
            read_outputs(data, 1 << 16)
    else:
        assert_same(read_outputs(data, 1 << 16)["y"], want)


def test_damaged_values_are_an_error() -> None:
    for dtype, values in ((1, b"\x2a\x03abc"), (3, b"\x3a\x01\x80"), (7, b"\x42\x05a")):
        tensor = TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": 3}]}).SerializeToString() + values
        entry = b"\x0a\x01y\x12" + bytes([len(tensor)]) + tensor
        with pytest.raises(ProtocolError, match="output 'y' cannot be read"):
            read_outputs(b"\x0a" + bytes([len(entry)]) + entry, LIMIT)


def test_unusual_maps_mean_what_they_mean_to_protobuf() -> None:
    tensor = to_proto(np.array([1, 2], np.float32)).SerializeToString()
    other = to_proto(np.array([3, 4], np.float32)).SerializeToString()

    def entry(*parts: tuple[int, bytes]) -> bytes:
        body = b"".join(bytes([number << 3 | 2, len(content)]) + content for number, content in parts)
        return b"\x0a" + bytes([len(body)]) + body

    for data in (
        entry((1, b"y"), (2, tensor)) + entry((1, b"y"), (2, other)),
        entry((2, tensor), (1, b"y")),
        entry((1, b"x"), (1, b"y"), (2, tensor)),
        entry((2, tensor)),
        entry((1, b"y"), (2, tensor[:2]), (2, tensor[2:])),
        b"",
    ):
        want = {name: from_proto(proto) for name, proto in PredictResponse.FromString(data).outputs.items()}
        got = read_outputs(data, LIMIT)
        assert got.keys() == want.keys()
        for name in want:
            assert_same(got[name], want[name])
    for data in (entry((1, b"\xff"), (2, tensor)), entry((1, b"y"), (2, tensor))[:-1]):
        with pytest.raises(ProtocolError, match="not a PredictResponse"):
            read_outputs(data, LIMIT)


def test_a_limit_holds_for_all_outputs_together() -> None:
    response = PredictResponse()
    for name in "ab":
        response.outputs[name].CopyFrom(to_proto(np.zeros(100, np.float64)))
    data = response.SerializeToString()
    assert set(read_outputs(data, 1600)) == {"a", "b"}
    with pytest.raises(ProtocolError, match="more than the limit of 799") as caught:
        read_outputs(data, 1599)
    assert "max_response_bytes" in str(caught.value)


def test_a_few_bytes_cannot_allocate_a_huge_array() -> None:
    for dtype in (1, 7, 9, 21):
        proto = TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": 3_000_000_000}]})
        assert element_count(proto) == 3_000_000_000
        with pytest.raises(ProtocolError, match="more than the limit"):
            read_outputs(answer(proto), LIMIT)
        with pytest.raises(TensorError, match="more than the limit"):
            from_proto(proto, LIMIT)
    for dims in ([2**62] * 4, [0, 2**62, 2**62], [1] * 100, [1] * 255):
        proto = TensorProto(dtype=1, tensor_shape={"dim": [{"size": size} for size in dims]})
        with pytest.raises(ProtocolError, match="output 'y' cannot be read"):
            read_outputs(answer(proto), LIMIT)
        with pytest.raises(TensorError):
            from_proto(proto)


def test_many_tiny_parts_are_refused_where_they_would_take_much_memory() -> None:
    shape = TensorProto(dtype=7, tensor_shape={"dim": [{"size": 2}]}).SerializeToString()
    surplus = TensorProto.FromString(shape + b"\x42\x00" * 20_000)
    with pytest.raises(ProtocolError, match="more than the limit of 1000000 bytes"):
        read_outputs(answer(surplus), 1_000_000)
    assert read_outputs(answer(surplus), LIMIT)["y"].tolist() == [b"", b""]
    with pytest.raises(ProtocolError, match="more than the limit"):
        read_outputs(b"\x0a\x00" * 20_000, 1_000_000)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_request_is_the_one_that_protobuf_writes(name: str) -> None:
    request = serving_message("PredictRequest")(model_spec={"name": "m"})
    head = request.SerializeToString()
    array = ARRAYS[name] if ARRAYS[name].ndim < 2 else np.asfortranarray(ARRAYS[name])
    request.inputs["ä"].CopyFrom(to_proto(array))
    assert serving_message("PredictRequest").FromString(predict_request(head, {"ä": array})) == request


def test_requests_keep_bfloat16_bits_and_byte_order() -> None:
    arrays = {"b": np.array([0x3F80], np.uint16).view(BFloat16Bits), "e": np.arange(3, dtype=">i4")[::-1], "s": np.array(5)}
    request = serving_message("PredictRequest").FromString(predict_request(b"", arrays))
    assert request.inputs["b"].dtype == 14
    assert from_proto(request.inputs["e"]).tolist() == [2, 1, 0]
    assert_same(from_proto(request.inputs["s"]), np.array(5))
    with pytest.raises(TensorError, match=r"input 't' cannot be sent: .*datetime64"):
        predict_request(b"", {"t": np.zeros(1, "datetime64[s]")})


def test_twenty_million_floats_are_read_in_a_fraction_of_a_second() -> None:
    array = np.arange(20_000_000, dtype=np.float32)
    data = answer(to_proto(array, content=False))
    started = time.process_time()
    got = read_outputs(data, LIMIT)["y"]
    assert time.process_time() - started < 0.5  # 0.05 s; one Python object per value takes 2 s
    np.testing.assert_array_equal(got, array)
