"""The resources that a pod needs, computed from the sizes of its models."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from bundler.render import RenderContext, tf_serving

MIB = 2**20
SERVER_BYTES = 512 * MIB
"""Memory of tensorflow_model_server without any model, as a generous estimate."""

GRAPH_COPIES = 12
"""Copies of a graph, and so of weights that are constants in it, which TensorFlow keeps once it has been loaded and optimized."""

STARTUP_SECONDS = 300
"""Minimum time allowed for start-up: 5 retries of a failing load, one minute apart (max_num_load_retries)."""

LOAD_BYTES_PER_SECOND = 20 * MIB
"""Speed of a slow disk; larger models get that much more time for start-up."""


def memory_bytes(context: RenderContext) -> int:
    """Return the memory that a pod requests: for the server, and for each model's served versions plus one more.

    A reload keeps the old version until the new one is available (core/availability_preserving_policy.h). Each interpreter
    of a model.tflite has its own copy of the weights, in the order in which its kernels read them.
    """
    served = tf_serving.served_versions(context)
    pools = tf_serving.tflite_pools(context)
    sizes = {
        model.name: model.size_bytes + pools * model.fast_path_bytes + GRAPH_COPIES * model.graph_bytes
        for model in context.models
    }
    return SERVER_BYTES + sum(sizes[model.name] * (len(served[model.name]) + 1) for model in context.models)


def memory(context: RenderContext) -> tuple[str, str]:
    """Return the memory request and limit as Kubernetes quantities; the limit is twice the request."""
    configured = context.spec.kubernetes.memory
    if configured is None:
        request = math.ceil(memory_bytes(context) / (64 * MIB)) * 64
        return f"{request}Mi", f"{2 * request}Mi"
    number, unit = split_quantity(configured)
    return configured, f"{(2 * number).normalize():f}{unit}"


def cpu_limit(context: RenderContext) -> int | None:
    """Return how many cores a pod may use, rounded up; None without a limit in cores or thousandths (`m`)."""
    limit = context.spec.kubernetes.pod.resources.limits.get("cpu", "")
    return math.ceil(tf_serving.cpu_cores(limit)) if re.fullmatch(r"\d+(\.\d*)?m?", limit) else None


def split_quantity(quantity: str) -> tuple[Decimal, str]:
    """Return number and unit of a quantity of memory as KubernetesSpec allows it, e.g. 1.5 and `Gi`."""
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", quantity).groups()  # type: ignore[union-attr]  # it matches
    return Decimal(number), unit


def startup_seconds(context: RenderContext) -> int:
    """Return how long the first load of all models may take."""
    return STARTUP_SECONDS + served_bytes(context) // LOAD_BYTES_PER_SECOND


def served_bytes(context: RenderContext) -> int:
    """Return the size of all served versions, each counted with the size of the latest."""
    served = tf_serving.served_versions(context)
    return sum(model.size_bytes * len(served[model.name]) for model in context.models)


def copy_size(context: RenderContext) -> str:
    """Return the size of a volume for a copy of the models: every served version, and one more per model for a canary."""
    extra = sum(model.size_bytes for model in context.models)
    return f"{max(1, math.ceil((served_bytes(context) + extra) / (64 * MIB))) * 64}Mi"


def pull_size(context: RenderContext) -> str:
    """Return the size of a volume for the models of an image: all versions, twice.

    ORAS keeps the compressed layers in temporary files until it has unpacked all of them (oras-go, content/file/file.go, Close).
    """
    return f"{max(1, math.ceil(2 * _all_bytes(context) / (64 * MIB))) * 64}Mi"


def claim_size(context: RenderContext) -> str:
    """Return the size of a volume claim: twice the size of all versions in the bundle."""
    return f"{max(1, math.ceil(2 * _all_bytes(context) / 2**30))}Gi"


def _all_bytes(context: RenderContext) -> int:
    """Return the size of all versions in the bundle, each counted with the size of the latest."""
    return sum(model.size_bytes * len(model.versions) for model in context.models)
