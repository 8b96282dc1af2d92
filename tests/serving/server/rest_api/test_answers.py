"""The limit for large answers."""

from __future__ import annotations

import pytest

from serving.server.rest_api.answers import Answers
from serving.server.rest_api.errors import LimitError


def test_answers_share_the_limit() -> None:
    answers = Answers(100)
    first = answers.hold(60)
    with pytest.raises(LimitError, match="has 41 bytes and other answers that are not sent yet have 60"):
        answers.hold(41)
    answers.hold(40).release()
    first.release()
    first.release()
    assert answers.hold(100)


def test_dropped_answer_makes_room() -> None:
    answers = Answers(100)
    held = answers.hold(100)
    del held
    assert answers.hold(100)
