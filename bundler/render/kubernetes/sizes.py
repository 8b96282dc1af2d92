"""What a pod needs, computed from the size of its models."""

from __future__ import annotations

import math
import re

from bundler.render import RenderContext, tf_serving

MIB = 2**20
SERVER_BYTES = 512 * MIB
"""What tensorflow_model_server needs without any model, generously."""

STARTUP_SECONDS = 300
"""Start-up that is always allowed: 5 retries of a failing load, a minute apart (max_num_load_retries)."""

LOAD_BYTES_PER_SECOND = 20 * MIB
"""A slow disk: start-up is allowed that much longer for larger models."""


def memory_bytes(context: RenderContext) -> int:
    """Memory that a pod asks for: the server, and of each model the served versions and one more.

    A reload keeps the old version until the new one is up (core/availability_preserving_policy.h). Each interpreter of a
    model.tflite has the weights once more, in the order that its kernels read them.
    """
    served = tf_serving.served_versions(context)
    pools = tf_serving.tflite_pools(context)
    sizes = {model.name: model.size_bytes + pools * model.fast_path_bytes for model in context.models}
    return SERVER_BYTES + sum(sizes[model.name] * (len(served[model.name]) + 1) for model in context.models)


def memory(context: RenderContext) -> tuple[str, str]:
    """Request and limit as Kubernetes quantities; the limit is twice the request."""
    asked = context.spec.kubernetes.memory
    if asked is None:
        request = math.ceil(memory_bytes(context) / (64 * MIB)) * 64
        return f"{request}Mi", f"{2 * request}Mi"
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", asked).groups()  # type: ignore[union-attr]  # KubernetesSpec.memory
    return asked, f"{2 * float(number):g}{unit}"


def startup_seconds(context: RenderContext) -> int:
    """How long the first loading of all models may take."""
    return STARTUP_SECONDS + served_bytes(context) // LOAD_BYTES_PER_SECOND


def served_bytes(context: RenderContext) -> int:
    """Size of the versions served, each as large as the latest."""
    served = tf_serving.served_versions(context)
    return sum(model.size_bytes * len(served[model.name]) for model in context.models)


def copy_size(context: RenderContext) -> str:
    """Room for a copy of what a canary and the base may serve: every served version and one more a model."""
    extra = sum(model.size_bytes for model in context.models)
    return f"{max(1, math.ceil((served_bytes(context) + extra) / (64 * MIB))) * 64}Mi"


def claim_size(context: RenderContext) -> str:
    """Room for all versions of the bundle, and as many again."""
    size = sum(model.size_bytes * len(model.versions) for model in context.models)
    return f"{max(1, math.ceil(2 * size / 2**30))}Gi"
