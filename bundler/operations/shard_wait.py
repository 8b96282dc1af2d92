"""Waiting for the shards of a build that other machines are still making."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bundler.errors import DeliveryError
from bundler.many.shards import FILE
from bundler.values.addresses import is_remote

POLL_S = 5.0
"""The time between two looks; a listing of a bucket costs money, if little."""

_NAME = re.compile(r"shard-(\d+)-of-(\d+)")


def wait(
    places: Sequence[str], seconds: float, notice: Callable[[str], None], *, insecure: bool = False, poll_s: float = POLL_S
) -> None:
    """Return when all shards of a build are there.

    Args:
        places: folders and addresses of shards, or of all shards of the build.
        seconds: the longest time to wait.
        notice: called with a sentence when the number of shards changes.
        insecure: speak plain HTTP with a registry on this machine.
        poll_s: seconds between two looks.

    Raises:
        DeliveryError: shards are still missing; or a store or registry cannot be reached.
    """
    deadline, told = time.monotonic() + seconds, -1
    while True:
        found = {name for place in places for name in _names(place, insecure)}
        total = max((int(match[2]) for name in found if (match := _NAME.fullmatch(name))), default=0)
        missing = [number for number in range(1, total + 1) if f"shard-{number}-of-{total}" not in found]
        if total and not missing:
            return
        if time.monotonic() >= deadline:
            raise _late(places, missing, total, seconds)
        if len(found) != told:
            told = len(found)
            notice(f"{told} of {total or 'the'} shards are at {', '.join(places)}; waiting for the others.")
        time.sleep(min(poll_s, max(0.0, deadline - time.monotonic())))


def _names(place: str, insecure: bool) -> list[str]:
    if is_remote(place):
        from bundler.operations.shard_transfer import present

        return present(place, insecure=insecure)
    folder = Path(place)
    return [each.name for each in (folder, *folder.glob("*")) if _NAME.fullmatch(each.name) and (each / FILE).is_file()]


def _late(places: Sequence[str], missing: Sequence[int], total: int, seconds: float) -> DeliveryError:
    which = f"{', '.join(map(str, missing))} of {total}" if total else "all"
    return DeliveryError(
        f"Not all shards have come within {seconds:g} seconds; missing: {which}.",
        where=", ".join(places),
        fix="see why their builds end (kubectl get pods, kubectl logs), and build them again",
        code="TFB5258",
    )
