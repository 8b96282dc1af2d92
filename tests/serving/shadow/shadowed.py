"""Reports of comparisons that were never made, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from serving.client.prepared_request import PreparedRequest
from serving.errors import RequestError
from serving.shadow.answers import compare_answers
from serving.shadow.report import ShadowReport
from serving.shadow.source import LeftOut, Logged
from serving.shadow.tally import Tally


def tally(agreed: int = 98, differed: int = 1, failed: int = 1, slower: float = 1.5) -> Tally:
    """Return figures of requests of which some agree, some differ, and some are refused by the second version."""
    made = Tally(1e-4)
    scores = np.float32([[0.1, 0.9]])
    for index in range(agreed + differed + failed):
        logged = Logged(index, Path("a|b.tfrecord"), index + 1, PreparedRequest("m", {"x": scores}))
        if index >= agreed + differed:
            made.add_failures(logged, (None, RequestError("INTERNAL: | broken", status="INTERNAL")), ("stable", "canary"))
            continue
        compared = compare_answers(
            {"y|z": scores}, {"y|z": scores if index < agreed else scores[:, ::-1]}, verb="Predict"
        )
        made.add_answers(logged, compared, (0.002, 0.002 * slower), index < agreed)
    return made


def report(**changes: Any) -> ShadowReport:
    """Return a report of these figures, or with others."""
    given: dict[str, Any] = {
        "target": "grpc://127.0.0.1:8500", "model": "m", "names": ("stable", "canary"), "versions": (1, 2), "agree_on": "values",
        "tally": tally(), "left_out": LeftOut(), "changes": (), "incomplete": (), "seconds": 2.0, "concurrency": 1,
    }  # fmt: skip
    return ShadowReport(**{**given, **changes})
