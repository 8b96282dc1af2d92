"""gRPC messages: the server answers or refuses each of them, with a status that is meant."""

from __future__ import annotations

import base64
import random
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from serving.protocol.messages import service
from tests.faults.fuzz.fuzzing import (
    HOSTILE_NUMBERS,
    Fuzzer,
    assert_harmless,
    bounded_memory,
    budgets,
    damaged,
    hostile,
)
from tests.faults.fuzz.servers import assert_right
from tests.faults.victim import RECORDED, UNLIMITED, Victim, predict_message, tensor
from tests.serving.server.recordings import ROWS

RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
OWN = [predict_message(name, x=tensor([1, 4], float_val=[1, 2, 3, 4])) for name in ("single", "serving_default")]
OWN.append(predict_message("multiply", a=tensor([2, 3], float_val=[1]), b=tensor([3, 2], float_val=[1])))
SEEDS = [("/tensorflow.serving.PredictionService/Predict", message.SerializeToString()) for message in OWN]
RECORDINGS = [row for row in ROWS if row["kind"] == "grpc" and "request_base64" in row]
SEEDS += [(row["method"], base64.b64decode(row["request_base64"])) for row in RECORDINGS]
DATA = [data for _, data in SEEDS]
ANSWERS = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE",
    "PERMISSION_DENIED", "INTERNAL",
}  # fmt: skip
SECONDS = 60.0
DEEP = b"\x0a\x7f" * 40


def message_class(method: str) -> Any:
    """Return the class of a method's requests."""
    _, full_name, name = method.split("/")
    return GetMessageClass(service(full_name).methods_by_name[name].input_type)


def mutant(method: str, data: bytes, rng: random.Random) -> bytes:
    """Return a message like a recorded one, with other fields, or damaged bytes."""
    kind = rng.randrange(8)
    if kind == 0:
        return damaged(data, rng, DATA)
    if kind == 1:
        return rng.choice((rng.randbytes(rng.randrange(64)), DEEP + data, data * 2, data + rng.choice(DATA)))
    try:
        message = message_class(method).FromString(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            change(message, rng)
        changed: bytes = message.SerializeToString()
    except (DecodeError, ValueError, TypeError):
        return damaged(data, rng, DATA)
    return changed


def change(message: Any, rng: random.Random) -> None:
    """Change one field of a message, or of a message in it."""
    fields = [field for field, _ in message.ListFields()]
    if not fields or rng.random() < 0.15:
        fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = rng.choice(fields)
    value = getattr(message, field.name)
    if field.message_type is None:
        _change_scalars(message, field, value, rng)
    elif field.message_type.GetOptions().map_entry:
        _change_map(field, value, rng)
    elif field.is_repeated:
        if not len(value) or rng.random() < 0.2:
            value.add()
        elif rng.random() < 0.2:
            value.extend([rng.choice(value)] * rng.choice((1, 100)))
        elif rng.random() < 0.1:
            del value[rng.randrange(len(value))]
        else:
            change(rng.choice(value), rng)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        value.SetInParent()
        change(value, rng)


def _change_map(field: FieldDescriptor, value: Any, rng: random.Random) -> None:
    keys, entry = sorted(value), field.message_type.fields_by_name
    is_text = entry["key"].cpp_type == FieldDescriptor.CPPTYPE_STRING
    key = hostile(rng).encode("utf-8", "replace").decode() if is_text else rng.randrange(9)
    if entry["value"].message_type is None:
        value[key if not keys or rng.random() < 0.5 else rng.choice(keys)] = _scalar(entry["value"], rng)
    elif not keys or rng.random() < 0.1:
        value[key].SetInParent()
    elif rng.random() < 0.1:
        value[key].CopyFrom(value[rng.choice(keys)])
    elif rng.random() < 0.1:
        del value[rng.choice(keys)]
    else:
        change(value[rng.choice(keys)], rng)


def _change_scalars(message: Any, field: FieldDescriptor, value: Any, rng: random.Random) -> None:
    if not field.is_repeated:
        if rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _scalar(field, rng))
        return
    kept = list(value)
    for _ in range(rng.choice((1, 1, 3))):
        if kept and rng.random() < 0.3:
            del kept[rng.randrange(len(kept))]
        else:
            kept[rng.randrange(len(kept) + 1) :] = [_scalar(field, rng)] * rng.choice((1, 1, 1000))
    message.ClearField(field.name)
    getattr(message, field.name).extend(kept)


def _scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    """Return a value that the field can hold."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.choice((b"", rng.randbytes(16), bytes(4096), b"\xff"))
        return rng.choice((*RECORDED, "m", "single", "serving_default", hostile(rng).encode("utf-8", "replace").decode()))
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return float(rng.choice([n for n in HOSTILE_NUMBERS if abs(n) < 10**300 or n != n]))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    bits = 64 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64) else 31
    number = int(rng.choice((rng.randrange(30), rng.randrange(30), rng.randrange(2**bits), 2 ** (bits - 1), 10**8, 300_000_000)))
    signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_INT32)
    number %= 2 ** (bits - 1) if signed else 2**bits
    return -number if signed and rng.random() < 0.2 else number


@budgets()
def test_server_answers_every_message(seconds: float, server: Victim) -> None:
    with grpc.insecure_channel(server.server.grpc_target, UNLIMITED) as channel:

        def check(data: bytes) -> None:
            method, _, body = data.partition(b"\n")
            try:
                channel.unary_unary(method.decode())(own_folders(method.decode(), body, server), timeout=SECONDS)
            except grpc.RpcError as exc:
                details = exc.details() or ""
                assert exc.code().name in ANSWERS, f"{exc.code().name}: {details}"
                assert_harmless(details)

        def make(rng: random.Random) -> bytes:
            method, data = rng.choice(SEEDS)
            return method.encode() + b"\n" + mutant(method, data, rng)

        with bounded_memory(server.server.pid):
            Fuzzer(seconds, check).run(make)
            assert server.call(served(server), RELOAD) == ("OK", "")
            assert_right(server)


def own_folders(method: str, body: bytes, server: Victim) -> bytes:
    """Return the request; one for a reload has valid folders and platforms.

    The server may wait for other folders, and after a wrong platform it refuses every reload, as the real server does.
    """
    if method != RELOAD:
        return body
    try:
        message = message_class(method).FromString(body)
    except DecodeError:
        return body
    for model in message.config.model_config_list.config:
        model.base_path = str(server.folder / "m")
        model.model_platform = "tensorflow"
        model.ClearField("model_type")
        model.ClearField("model_version_policy")
    data: bytes = message.SerializeToString()
    return data


def served(server: Victim) -> bytes:
    """Return the reload request for the models that the server had at first."""
    message = message_class(RELOAD)()
    for name in ("m", *RECORDED):
        folder = str(server.folder / name)
        message.config.model_config_list.config.add(name=name, base_path=folder, model_platform="tensorflow")
    data: bytes = message.SerializeToString()
    return data
