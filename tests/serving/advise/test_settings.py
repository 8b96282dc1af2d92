"""The settings that a search tries."""

from __future__ import annotations

import pytest

from serving.advise.settings import (
    Demand,
    Setting,
    first_setting,
    layout_settings,
    size_settings,
    thread_settings,
    waiting,
)
from serving.server import parse_flags
from tests.serving.advise.advised import BATCHED

MANY = Demand(64, 1, 64)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.advise.settings.cores", lambda: 2)


def test_settings_fit_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(setting) for setting in thread_settings(MANY, tflite=False)] == ["grpc threads 64", "intra 1, inter 2"]
    one_batch, per_core = layout_settings(MANY, tflite=False)
    assert one_batch.batching and one_batch.batching.max_batch_size == 64 and one_batch.grpc_threads == 64
    assert str(per_core) == "intra 1, inter 1, grpc threads 64, batches of 32, 2 at once, waiting 0 µs"
    sizes = [setting.batching.max_batch_size for setting in size_settings(per_core, MANY) if setting.batching]
    assert sizes == [8, 16, 64]
    assert "waiting 2000 µs" in str(waiting(per_core))
    large = layout_settings(Demand(2, 12, 24), tflite=False)[0]
    assert large.batching and large.batching.max_batch_size == 32
    monkeypatch.setattr("serving.advise.settings.cores", lambda: 1)
    eight = Demand(8, 1, 8)
    assert (len(thread_settings(eight, tflite=False)), len(layout_settings(eight, tflite=False))) == (1, 1)
    assert thread_settings(eight, tflite=True) == []


def test_a_tflite_file_has_one_interpreter_per_core_and_batches_on_each() -> None:
    assert str(first_setting(MANY, tflite=True)) == "interpreters 2"
    assert thread_settings(MANY, tflite=True) == [Setting(pools=1)]
    (batched,) = layout_settings(MANY, tflite=True)
    assert batched.batching and batched.batching.num_batch_threads == 2 and batched.pools == 2


def test_a_lone_client_gets_all_cores_first() -> None:
    lone = Demand(1)
    assert first_setting(lone, tflite=False) == Setting() and first_setting(MANY, tflite=False) == Setting(1)
    assert thread_settings(lone, tflite=False) == [Setting(), Setting(1), Setting(inter=1)]


def test_batches_are_padded_if_the_demand_says_so() -> None:
    batched = layout_settings(Demand(64, 1, 64, pads=True), tflite=False)[0]
    assert batched.batching and batched.batching.pad_variable_length_inputs and str(batched).endswith(", padded")


def test_flags_are_the_servers_own() -> None:
    options = parse_flags(BATCHED.setting.flags("/etc/batching.config"))
    assert (options.intra_op_threads, options.inter_op_threads, options.grpc_threads) == (1, 1, 64)
    assert (options.enable_batching, options.batching_parameters_file) == (True, "/etc/batching.config")
    assert parse_flags(Setting(pools=3).flags("x")).tflite_pool_size == 3
    assert Setting().flags("x") == () and str(Setting()) == "no flags"
