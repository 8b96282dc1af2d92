from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from bundler.delivery.stores import lease
from bundler.delivery.stores.lease import Lease
from bundler.delivery.stores.private import LEASE
from bundler.delivery.stores.store import Store, open_store
from bundler.errors import DeliveryError
from tests.bundler.delivery.stores.buckets import Bucket, memory_address


@pytest.fixture
def store() -> Store:
    return open_store(memory_address())


def held_by_another(store: Store, seconds_ago: float) -> None:
    renewed = (datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)).isoformat()
    store.write(LEASE, json.dumps({"id": "x", "host": "builder", "pid": 7, "since": "then", "renewed": renewed}).encode())


def test_a_lease_is_there_while_it_is_held(store: Store) -> None:
    with Lease(store):
        assert store.read(LEASE)
    assert store.read(LEASE) is None


def test_a_lease_that_is_held_is_refused_with_its_holder(store: Store) -> None:
    held_by_another(store, seconds_ago=30)
    with pytest.raises(DeliveryError, match=r"\(process 7 on builder, since then\)") as caught, Lease(store):
        pass
    assert caught.value.code == "TFB9109" and store.read(LEASE)


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"renewed": "soon"}'], ids=["expired", "empty", "list", "no time"])
def test_a_lease_of_a_killed_command_is_taken_over(store: Store, content: bytes | None) -> None:
    held_by_another(store, seconds_ago=lease.EXPIRY_S + 1)
    if content is not None:
        store.write(LEASE, content)
    with Lease(store):
        assert json.loads(store.read(LEASE) or b"")["id"] != "x"
    assert store.read(LEASE) is None


def test_a_writer_that_lost_its_lease_stops_and_leaves_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_S", 0.01)
    with pytest.raises(DeliveryError, match="builder"), Lease(store) as held:
        held_by_another(store, seconds_ago=0)
        held._thread.join(timeout=10)
        held.check()
    assert json.loads(store.read(LEASE) or b"")["id"] == "x"


def test_a_lease_is_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_S", 0.01)
    import threading

    renewed = threading.Event()
    write = Store.write

    def writing(self: Store, path: str, data: bytes) -> None:
        write(self, path, data)
        renewed.set()

    monkeypatch.setattr(Store, "write", writing)
    with Lease(store) as held:
        assert renewed.wait(10)
        held.check()


def test_one_of_two_writers_gets_the_lease_of_a_bucket(bucket: Bucket) -> None:
    store = open_store(bucket.address())
    with Lease(store), pytest.raises(DeliveryError, match="Another command is writing"), Lease(store):
        pass
    assert bucket.objects() == []
