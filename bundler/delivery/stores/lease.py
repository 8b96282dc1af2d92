"""One command at a time writes into the folder of a store: the lease, an object that a writer creates and keeps renewing.

1. The lease is created on the condition that there is none, so one of two writers gets it.
2. A thread renews it every minute. A lease that has not been renewed for ten minutes is that of a writer that was killed, or of a
   machine that went away, and the next writer takes it over.
3. A writer that finds another's name in its lease, after having been suspended for example, stops before its next write.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from bundler.delivery.stores.private import LEASE
from bundler.delivery.stores.store import Store
from bundler.errors import DeliveryError, TfbundleError

RENEWAL_S = 60.0
EXPIRY_S = 600.0


class Lease:
    """The right to write into a store's folder. Use as a context manager.

    Raises (on entering):
        DeliveryError: another command writes into the folder, or the store cannot be written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._id = uuid.uuid4().hex
        self._since = _now().isoformat(timespec="seconds")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="tfbundle-lease", daemon=True)
        self._lost = False

    def __enter__(self) -> Lease:
        if not self._store.create(LEASE, self._content()):
            self._take_over()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        try:
            if not self._lost and self._holder().get("id") == self._id:
                self._store.remove([LEASE])
        except (TfbundleError, OSError):
            if exc is None:
                raise
            # the error that ended the command is the one to report; the lease expires

    def check(self) -> None:
        """Raise DeliveryError if another command has taken the lease over."""
        if self._lost:
            raise _held(self._store, self._holder())

    def _take_over(self) -> None:
        holder = self._holder()
        if holder and _age(holder) < EXPIRY_S:
            raise _held(self._store, holder)
        self._store.remove([LEASE])
        if not self._store.create(LEASE, self._content()):
            raise _held(self._store, self._holder())

    def _keep(self) -> None:
        while not self._ended.wait(RENEWAL_S):
            try:
                if self._holder().get("id") != self._id:
                    self._lost = True
                    return
                self._store.write(LEASE, self._content())
            except (TfbundleError, OSError):
                continue  # a lost connection stops the upload itself, or comes back before the lease expires

    def _holder(self) -> dict[str, Any]:
        try:
            content = json.loads(self._store.read(LEASE) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _content(self) -> bytes:
        renewed = _now().isoformat(timespec="seconds")
        owner = {"id": self._id, "host": socket.gethostname(), "pid": os.getpid(), "since": self._since, "renewed": renewed}
        return (json.dumps(owner, indent=2) + "\n").encode("utf-8")


def _held(store: Store, holder: dict[str, Any]) -> DeliveryError:
    who = f" (process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')})" if holder else ""
    return DeliveryError(
        f"Another command is writing into {store.address}{who}.",
        fix=f"wait until it ends; if it was killed, repeat the command {EXPIRY_S / 60:.0f} minutes after that",
        code="TFB9109",
    )


def _age(holder: dict[str, Any]) -> float:
    """Return for how many seconds a lease has not been renewed; one without a valid time counts as expired."""
    try:
        return (_now() - datetime.fromisoformat(str(holder.get("renewed")))).total_seconds()
    except (ValueError, TypeError):
        return EXPIRY_S


def _now() -> datetime:
    return datetime.now(timezone.utc)
