"""Attacks by a model config file that the server polls."""

from __future__ import annotations

import os
import random
import subprocess
import time

from tests.faults.attacks.attack import SECONDS, Attack, counted, repeated
from tests.faults.victim import Victim

POLLING = ("--model_config_file_poll_wait_seconds=1",)
STOP_SECONDS = 10.0


def binary_config(victim: Victim) -> str:
    """Write other random bytes into the config again and again."""
    rng = random.Random(1)

    def write() -> str:
        victim.config.write_bytes(rng.randbytes(100_000))
        time.sleep(0.3)
        return "written"

    return counted(repeated(write, seconds=2 * SECONDS))


def fifo(victim: Victim) -> str:
    """Put a FIFO in the place of the config: whoever opens it waits for a writer."""
    victim.config.unlink()
    os.mkfifo(victim.config)
    time.sleep(SECONDS)
    return "answers go on"


def stops(victim: Victim) -> str:
    """Stop the server by SIGTERM, which must not take long."""
    began = time.monotonic()
    victim.server.process.terminate()
    try:
        code = victim.server.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the server has not ended {STOP_SECONDS:.0f} s after SIGTERM") from None
    assert code == 0, f"the server ended with {code}"
    return f"SIGTERM ends it in {time.monotonic() - began:.1f} s"


ATTACKS = (
    Attack("a config of random bytes, each second a new one", binary_config, "none needed", POLLING),
    Attack("a FIFO as config", fifo, "none needed", POLLING, after=stops),
)
