"""Odd arguments to the client: each call succeeds or raises an error of the library that names the argument, and none hangs."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import Client, Golden, GoldenError, ServingError, TargetError, TensorError
from serving.errors import ConnectionFailedError
from serving.launch.server_process import ServerEndpoints
from tests.serving.servers import small_server

X = np.zeros((1, 3), np.float32)


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


@pytest.fixture(scope="module", params=["grpc", "column", "row"])
def client(endpoints: ServerEndpoints, request: pytest.FixtureRequest) -> Iterator[Client]:
    target = endpoints.grpc_target if request.param == "grpc" else endpoints.rest_target
    with Client(target, timeout=5, rest_format="row" if request.param == "row" else "column") as client:
        yield client


class Unprintable:
    """An object that fails wherever it is touched."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no array")


class Frame:
    """A table, as data-frame libraries have them."""

    def __array__(self, *_: object, **__: object) -> Any:
        return np.zeros((1, 3), np.float32)


class Lazy:
    """A sequence that ends late."""

    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, index: int) -> float:
        return 0.5


itself: list[Any] = []
itself.append(itself)

NAMES = ["", "a\0b", "a\nb", "\ud800", "ä" * 300, "../..", "%2e", "🦆", np.str_("affine"), "a b", "__init__", "x" * 5000]
NUMBERS = [
    0, -1, 2**31, 2**63, 2**64, 10**400, True, False, math.nan, math.inf, -math.inf, 0.0, -1e300, 1e300, 5e-324,
    np.int8(1), np.float32(0.5), np.bool_(True), np.uint64(2**64 - 1), Decimal("NaN"), Fraction(1, 3), 1j, np.complex64(1),
]  # fmt: skip
ARRAYS = [
    np.array([object()], object), np.array([[1], [2, 3]], object), np.array([None]), np.array([10**400], object),
    np.zeros(2, [("a", np.int8), ("b", "f4")]), np.array([np.array(1)], object),
    np.zeros(2, "datetime64[s]"), np.zeros(2, "timedelta64[s]"), np.zeros(2, np.complex64), np.zeros((2, 3), ">f4"),
    np.zeros((6, 3), np.float32)[::-2], np.asfortranarray(np.zeros((2, 3), np.float32)), np.float32(1), np.zeros((), np.float32),
    np.zeros((0, 3), np.float32), np.zeros(3, np.longdouble), np.zeros(2, np.clongdouble), np.array(["\ud800"]),
    np.array(["a\0"]), np.array([b"\xff"]), np.zeros(2, "V5"), np.ma.array([1.0, 2.0], mask=[True, False]),
    np.ma.array([[1.0, 2.0, 3.0]], dtype=np.float32), np.broadcast_to(np.float32(1), (10**6, 10**6)),
    np.zeros((1,) * 32, np.float32),
    np.rec.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]),
]  # fmt: skip
OTHERS = [
    None, object(), Unprintable(), Frame(), Lazy(), itself, [], {}, set(), {1, 2}, frozenset(), (), range(3), iter([1]),
    range(10**12),
    (i for i in range(3)), itertools.count(), b"", b"\xff\x00", bytearray(b"ab"), memoryview(b"ab"), [None], [[1], [2, 3]],
    [b"a", 1], ["a", b"b"], {"a": 1}, {1: 2}, {"\ud800": 1}, {"x": {"y": 1}}, {"x": itself}, lambda: 1, Client, ...,
    Path("/"), type, [[[]]], ["\ud800"], [10**400], [math.nan], "text", ["1.5"], [[1, 2, 3]], {"x": X}, [{"x": [1.0]}],
    [{"x": None}], NotImplemented,
    [{"x": [10**30]}], [{"x": [1j]}], [{1: [1]}], [{"x": ["\ud800"]}], [b"\xff\xff"], [None], [[]], [{"x": Unprintable()}],
    np.array([b"\xff"], object), np.array([{"x": [1.0]}], object), np.array([[b""]], object), [{"x": [[1], [2, 3]]}],
]  # fmt: skip
odd = st.one_of(
    st.sampled_from([*NAMES, *NUMBERS]),
    st.sampled_from(ARRAYS + OTHERS),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    ),
)

CALLS: dict[str, Callable[[Client, Any], object]] = {
    "predict model": lambda c, v: c.predict(v, x=X),
    "predict inputs": lambda c, v: c.predict("affine", v),
    "predict an input": lambda c, v: c.predict("affine", x=v),
    "predict a text input": lambda c, v: c.predict("echo", x=v, signature="echo_string"),
    "predict an unknown input": lambda c, v: c.predict("affine", zz=v),
    "predict version": lambda c, v: c.predict("affine", x=X, version=v),
    "predict label": lambda c, v: c.predict("affine", x=X, label=v),
    "predict version and label": lambda c, v: c.predict("affine", x=X, version=v, label=v),
    "predict signature": lambda c, v: c.predict("affine", x=X, signature=v),
    "predict timeout": lambda c, v: c.predict("affine", x=X, timeout=v),
    "classify model": lambda c, v: c.classify(v, []),
    "classify examples": lambda c, v: c.classify("affine", v),
    "classify an example": lambda c, v: c.classify("affine", [v]),
    "classify a feature": lambda c, v: c.classify("affine", [{"x": v}]),
    "classify signature": lambda c, v: c.classify("affine", [], signature=v),
    "classify timeout": lambda c, v: c.classify("affine", [], timeout=v),
    "regress examples": lambda c, v: c.regress("affine", v),
    "regress version": lambda c, v: c.regress("affine", [], version=v),
    "metadata model": lambda c, v: c.metadata(v),
    "metadata label": lambda c, v: c.metadata("affine", label=v),
    "metadata timeout": lambda c, v: c.metadata("affine", timeout=v),
    "status model": lambda c, v: c.status(v),
    "status version": lambda c, v: c.status("affine", version=v),
    "status timeout": lambda c, v: c.status("affine", timeout=v),
    "prepare model": lambda c, v: c.prepare(v, {"x": X}),
    "prepare inputs": lambda c, v: c.prepare("affine", v),
    "prepare examples": lambda c, v: c.prepare("affine", {"inputs": v}, verb="Classify"),
    "prepare inputs of Regress": lambda c, v: c.prepare("affine", v, verb="Regress"),
    "prepare verb": lambda c, v: c.prepare("affine", {"x": X}, verb=v),
    "prepare signature": lambda c, v: c.prepare("affine", {"x": X}, signature=v),
    "wait_until_ready version": lambda c, v: c.wait_until_ready("affine", v, timeout=0),
    "wait_until_ready model": lambda c, v: c.wait_until_ready(v, timeout=0),
    "wait_until_ready ended": lambda c, v: c.wait_until_ready("affine", ended=v),
}


def assert_clear(call: Callable[[], object], seconds: float = 8.0) -> ServingError | None:
    """Assert that a call returns, or raises an error that says what happened and that UTF-8 can hold; return the error."""
    started = time.monotonic()
    try:
        call()
    except ServingError as exc:
        str(exc).encode()
        assert exc.what
        assert len(str(exc)) < 20_000
        if isinstance(exc, TargetError | TensorError):
            assert exc.fix
        return exc
    finally:
        assert time.monotonic() - started < seconds
    return None


RELAXED = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", CALLS)
@RELAXED
@given(value=odd)
def test_any_argument_is_accepted_or_refused_clearly(client: Client, name: str, value: Any) -> None:
    assert_clear(lambda: CALLS[name](client, value))


@pytest.mark.parametrize("name", [name for name in CALLS if "ended" not in name])
def test_every_odd_argument_is_accepted_or_refused_clearly(endpoints: ServerEndpoints, name: str) -> None:
    for target in (endpoints.grpc_target, endpoints.rest_target):
        with Client(target, timeout=5) as client:
            for value in (*NAMES, *NUMBERS, *ARRAYS, *OTHERS):
                assert_clear(lambda value=value: CALLS[name](client, value))  # type: ignore[misc]


TARGETS = [
    "", " ", "localhost", "localhost:", ":8500", "localhost:0", "localhost:99999", "localhost:8500/path", "localhost: 8500",
    "http://[", "http://[::1", "http://]:1", "http://", "http:///v1", "http://h:port", "http://h:99999", "http://h:1/a b",
    "http://h:1/\n", "http://h:1/ä", "http://user:secret@h:1", "http://h:1?q", "http://h:1#f", "ftp://h:1", "grpc://h:1/path",
    "://h:1", "unix:", "unix://", "unix:a\0b", "unix:" + "a" * 200, "h\0:1", "h:1\n", "h:１", "\ud800:1", "a" * 70 + ".example:1",
    "a..b:1", "[::1]", "[x]:1",
    "@h:1", "h%00:1", "h:1:1", "http://h:1\\x", 5, None, b"h:1", ["h:1"], Path("h:1"), object(), Unprintable(),
]  # fmt: skip


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
def test_a_wrong_target_is_a_target_error(target: Any, rest: bool) -> None:
    with pytest.raises(TargetError, match=r"target|server address") as caught:
        Client(target, rest=rest)
    assert caught.value.fix
    str(caught.value).encode()


@RELAXED
@given(text=st.one_of(st.text(max_size=30), st.text("htps:/[]@?#%.\\ 0189a\n", max_size=20)), rest=st.booleans())
def test_any_text_is_a_target_or_a_target_error(text: str, rest: bool) -> None:
    def call() -> None:
        with Client(text, rest=rest, timeout=0.05) as client:
            if client.target.address.startswith(("127.", "localhost", "unix")):
                client.status("m")

    assert_clear(call)


@pytest.mark.parametrize(
    "target", ["unix:/nonexistent/socket", "127.0.0.1:1", "http://127.0.0.1:1", "http://[::1]:1", "grpcs://127.0.0.1:1"]
)
def test_an_address_where_nobody_listens_is_a_connection_error(target: str) -> None:
    with Client(target, timeout=3) as client, pytest.raises(ConnectionFailedError):
        client.status("m")


OPTIONS: dict[str, list[Any]] = {
    "timeout": [None, 0, -1, math.nan, math.inf, "5", b"5", True, 1e300, 10**400, 1j, Decimal("NaN"), [5], object()],
    "rest": [None, "no", 1, [], object()],
    "rest_format": [None, "rows", "", "COLUMN", 5, ["row"], b"row"],
    "root_certificates": ["text", 5, b"", b"none", b"\xff", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"],
    "max_response_bytes": [None, 0, -1, 1.5, "5", True, 2**63, math.inf],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OPTIONS.items() for value in values])
def test_a_wrong_option_of_the_client_is_named(name: str, value: Any) -> None:
    for target in ("localhost:1", "http://localhost:1", "grpcs://localhost:1", "https://localhost:1"):
        with pytest.raises(TargetError, match=f"argument {name} ") as caught:
            Client(target, **{name: value})
        assert caught.value.fix


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda c: c.predict(None, x=X), "argument model"),
        (lambda c: c.predict("a\ud800", x=X), "argument model"),
        (lambda c: c.predict("affine", [X]), "argument inputs"),
        (lambda c: c.predict("affine", {1: X}), "name of an input"),
        (lambda c: c.predict("affine", {"\ud800": X}), "name of an input"),
        (lambda c: c.predict("affine", x=X, version=2**63), "argument version"),
        (lambda c: c.predict("affine", x=X, version="1"), "argument version"),
        (lambda c: c.predict("affine", x=X, label=1), "argument label"),
        (lambda c: c.predict("affine", x=X, version=1, label="a"), "Both version 1 and label 'a'"),
        (lambda c: c.predict("affine", x=X, signature=5), "argument signature"),
        (lambda c: c.predict("affine", x=X, timeout=math.nan), "argument timeout"),
        (lambda c: c.predict("affine", x=np.zeros(1, "datetime64[s]")), "input 'x' .*datetime64"),
        (lambda c: c.predict("affine", x=np.array([object()])), "input 'x' .*object"),
        (lambda c: c.predict("affine", x=np.ma.array([1.0], mask=[True])), "input 'x' .*masked"),
        (lambda c: c.predict("affine", x=[[1], [2, 3]]), "input 'x' is not a float32 tensor"),
        (lambda c: c.predict("affine", x=None), "input 'x' .*None"),
        (lambda c: c.predict("affine", x=np.broadcast_to(np.float32(1), (10**6, 10**6))), "input 'x' .*more than a request"),
        (lambda c: c.predict("affine", x=Unprintable()), "input 'x'"),
        (lambda c: c.classify("affine", {"x": [1.0]}), "argument examples"),
        (lambda c: c.classify("affine", b"abc"), "argument examples"),
        (lambda c: c.classify("affine", itertools.count()), "argument examples"),
        (lambda c: c.classify("affine", [5]), "example 5"),
        (lambda c: c.classify("affine", [{"x": [1j]}]), "feature 'x'"),
        (lambda c: c.regress("affine", [{"x": [10**30]}]), "feature 'x'"),
        (lambda c: c.prepare("affine", {"x": X}, verb="Classify"), "one input 'inputs'"),
        (lambda c: c.prepare("affine", {"x": X}, verb="predict"), "argument verb"),
        (lambda c: c.wait_until_ready("affine", timeout=-1), "argument timeout"),
        (lambda c: c.wait_until_ready("affine", ended=5), "argument ended"),
    ],
)
def test_the_error_names_the_argument(client: Client, call: Callable[[Client], object], named: str) -> None:
    with pytest.raises((TargetError, TensorError), match=named) as caught:
        call(client)
    assert caught.value.fix


def test_arrays_of_every_layout_arrive_unchanged(client: Client) -> None:
    base = np.arange(12, dtype=np.float32).reshape(4, 3)
    want = client.predict("affine", x=base, version=1)["y"]
    strided = np.repeat(base, 2, 0)[::2]
    for same in (np.asfortranarray(base), base.astype(">f4"), np.ma.array(base), strided, base.tolist()):
        np.testing.assert_array_equal(client.predict("affine", x=same, version=1)["y"], want)
    np.testing.assert_array_equal(client.predict(np.str_("affine"), x=base, version=np.int64(1))["y"], want)


def test_a_closed_client_says_so(client: Client) -> None:
    with Client(str(client.target)) as other:
        call = other.prepare("affine", {"x": X})
        other.status("affine")
    other.close()
    for action in (lambda: other.status("affine"), lambda: other.predict("affine", x=X), call):
        with pytest.raises(ConnectionFailedError, match="closed"):
            action()


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (None, {}), (5, {}), ("", {}), ("a\0b", {}), ("\ud800", {}), (b"a", {}), (object(), {}), ("/nonexistent", {}),
        (".", {"bogus": 1}), (".", {"grpc_port": "8500"}), (".", {"grpc_port": 65536}), (".", {"rest_port": -1}),
        (".", {"grpc_port": None}), (".", {"rest_port": True}), (".", {"host": None}),
    ],
)  # fmt: skip
def test_an_odd_argument_of_the_embedded_server_is_a_config_error(source: Any, options: dict[str, Any]) -> None:
    from serving import Server

    with pytest.raises(TargetError) as caught:
        Server(source, **options)
    str(caught.value).encode()
    assert caught.value.fix


@pytest.mark.parametrize("path", [None, 5, "", "/nonexistent", b"a", object(), "a\0b", "\ud800", "/"])
def test_golden_data_at_an_odd_path_is_a_clear_error(path: Any) -> None:
    with pytest.raises((GoldenError, TargetError)):
        Golden.load(path)
