"""Content of a bundle.json that follows the schema, for tests that publish without building a model."""

from __future__ import annotations

from typing import Any

SPEC: dict[str, Any] = {
    "models": [],
    "serving": {"grpc_port": 8500, "rest_port": 8501, "labels": {}, "versions": {}, "fast_path": False},
    "kubernetes": {},
    "docker": {},
}


def record(**changed: Any) -> dict[str, Any]:
    """Return the record of a version, with other values for some keys."""
    tensor = {"name": "x", "dtype": "float32", "dims": ["batch", 4]}
    return {
        "created": "2026-01-02T03:04:05+00:00",
        "source": {"source": "m.py:make"},
        "converter": "native",
        "layout": "keep",
        "opset": 18,
        "signatures": {"serving_default": {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]}},
        "parity": {"tolerance": 1e-4, "passed": True, "summary": [], "results": []},
        "graph": {"ops": {"MatMul": 1}, "transposes": 0, "weight_bytes": 16, "nodes": 1},
        "tflite": {},
        "stages": {"load": 0.5},
        **changed,
    }
