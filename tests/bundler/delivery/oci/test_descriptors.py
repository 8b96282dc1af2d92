from __future__ import annotations

from typing import Any

import pytest

from bundler.delivery.oci.descriptors import Descriptor, descriptors, parse, to_bytes
from bundler.errors import DeliveryError

DIGEST = f"sha256:{'a' * 64}"


def test_descriptor_is_read_as_it_is_written() -> None:
    full = Descriptor("a/b", DIGEST, 3, {"k": "v"}, "c/d", {"os": "linux"})
    assert Descriptor.from_json(full.to_json(), where="here") == full
    assert Descriptor("a/b", DIGEST, 0).to_json() == {"mediaType": "a/b", "digest": DIGEST, "size": 0}
    assert Descriptor.of(b"{}", "a/b").digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    "change",
    [{"digest": "sha512:0"}, {"digest": "../x"}, {"digest": None}, {"size": -1}, {"size": True}, {"size": 2**63}, {"size": "1"},
     {"mediaType": 1}, {"annotations": [1]}],
)  # fmt: skip
def test_malformed_descriptor_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DeliveryError, match="cannot be read") as caught:
        Descriptor.from_json({"mediaType": "a/b", "digest": DIGEST, "size": 1, **change}, where="here")
    assert (caught.value.code, caught.value.where) == ("TFB9009", "here")


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_document_that_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(DeliveryError, match="cannot be read"):
        parse(data, where="here")


def test_list_of_descriptors_must_be_a_list() -> None:
    with pytest.raises(DeliveryError, match="'layers' is not a list"):
        descriptors({"layers": {}}, "layers", where="here")


def test_document_has_the_same_bytes_whatever_its_order() -> None:
    assert to_bytes({"b": 1, "a": "ä"}) == to_bytes({"a": "ä", "b": 1}) == '{"a":"ä","b":1}'.encode()
