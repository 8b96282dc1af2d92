"""k8s/: the repository's kustomize tree and Helm chart, specialised for a bundle.

The tree is real (`kubectl kustomize k8s/overlays/dev` renders it as it stands) and serves a model `digits`. Each function
of these modules takes one file of it, sets what differs for the bundle, and keeps the rest, comments too.

    tree.py        reading the shipped files, names and images in them
    sizes.py       memory, start-up time and storage, computed from the models
    base.py        base/ and overlays/
    components.py  components/ that only need a name, a port, a path
    canary.py      components/canary: the second Deployment, made of the base
    models.py      components/models-*: where the models come from
    kserve.py      kserve/: a ServingRuntime and an InferenceService a model
    chart.py       chart/: the Helm chart's values
"""

from __future__ import annotations

from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.render import RenderContext, tf_serving
from bundler.render.files import read_yaml, write_files, write_yaml
from bundler.render.kubernetes import base, canary, chart, components, kserve, models
from bundler.render.kubernetes.sizes import memory_bytes, startup_seconds
from bundler.render.kubernetes.tree import STATE_SCRIPT, TREE, Edit, shipped, split_image

__all__ = ["STATE_SCRIPT", "TREE", "memory_bytes", "render", "split_image", "startup_seconds"]

_COPIED = ("README.md", STATE_SCRIPT, "components/tls/ssl-config.sh")
"""Files that name nothing of the bundle."""

_OPTIONAL = (
    "base/config/batching.config",
    "base/config/monitoring.config",
    "components/canary/config/batching.config",
    "components/canary/config/monitoring.config",
    "kserve/config/batching.config",
    "kserve/config/monitoring.config",
    "components/metrics/kustomization.yaml",
    "components/metrics/annotations.yaml",
    "components/service-monitor/kustomization.yaml",
    "components/service-monitor/service.yaml",
    "components/service-monitor/servicemonitor.yaml",
)
"""Files that stand for some settings only."""


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write k8s/: base, components, and the overlays dev and prod. Other files there are the user's and stay.

    Raises:
        SpecError: the settings ask for a model, a version or a label that there is not.
    """
    files = {path: shipped(path) for path in _COPIED}
    files.update({f"base/config/{name}": text for name, text in tf_serving.config_files(context).items()})
    files |= canary.config_files(context) | kserve.files(context) | chart.files()
    edits: dict[str, Edit] = {}
    for module in (base, components, canary, models, kserve, chart):
        edits |= module.edits(context)
    for path, edit in edits.items():
        document = read_yaml(shipped(path))
        edit(document)
        files[path] = write_yaml(document)
    return write_files(BundleLayout(folder).k8s_dir, files, owned=_OPTIONAL)
