"""What has to be true of a server after a run of a fuzzer."""

from __future__ import annotations

import time

from tests.faults.fuzz.fuzzing import assert_harmless
from tests.faults.light_client import LightClient
from tests.faults.victim import Victim


def assert_right(server: Victim) -> None:
    """Fail unless a server answers rightly, and has logged no unforeseen error."""
    with LightClient(server.server) as light:
        time.sleep(0.5)
    assert not light.result.losses, str(light.result)
    assert_harmless(server.log.read_text("utf-8", "replace"))
