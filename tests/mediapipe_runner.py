"""Runs MediaPipe's tasks in an environment of its own: questions of `tests.mediapipe_tasks` on stdin, answers as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer(question: dict[str, str]) -> Any:
    """Return the answer to one question, or the error as a string."""
    import mediapipe
    from mediapipe.tasks.python import text, vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    module = vision if question["image"] else text
    options = getattr(module, f"{question['task']}Options")(base_options=BaseOptions(model_asset_path=question["file"]))
    content = mediapipe.Image.create_from_file(question["image"]) if question["image"] else question["text"]
    is_classifier = question["task"].endswith("Classifier")
    try:
        with getattr(module, question["task"]).create_from_options(options) as task:
            result = task.classify(content) if is_classifier else task.embed(content)
    except (RuntimeError, ValueError, NotImplementedError) as exc:
        return str(exc)
    if not is_classifier:
        return [[float(number) for number in each.embedding] for each in result.embeddings]
    by_index = [sorted(each.categories, key=lambda category: category.index) for each in result.classifications]
    return [[(category.category_name, float(category.score)) for category in categories] for categories in by_index]


if __name__ == "__main__":
    print(json.dumps([answer(question) for question in json.load(sys.stdin)]))
