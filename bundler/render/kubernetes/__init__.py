"""k8s/: the repository's kustomize tree and Helm chart, adapted to a bundle.

The shipped tree is complete: it serves a model `digits`, and `kubectl kustomize k8s/overlays/dev` renders it as it is. The
functions of these modules each take one of its files, set what differs for the bundle, and keep the rest, including comments.

    tree.py        reading the shipped files, and the names and images in them
    pods.py        settings of pods
    scripts.py     the shell scripts and their copies
    sizes.py       memory, start-up time and storage, computed from the models
    base.py        base/ and overlays/
    components.py  components/ in which only names, ports and paths differ
    promql.py      queries of the server's metrics
    alerts.py      the rules of components/alerts
    dashboard.py   the dashboard of components/dashboard
    monitoring.py  both components, and their copies in the chart
    canary.py      components/canary: the second Deployment, derived from the base
    models.py      components/models-*: where the models come from
    kserve.py      kserve/: a ServingRuntime, and one InferenceService per model, or two with a canary
    kserve_services.py  which InferenceServices there are, and what each serves
    storage.py     where KServe finds a model, by the scheme of its address
    chart.py       chart/: the values of the Helm chart
"""

from __future__ import annotations

from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.render import RenderContext, tf_serving
from bundler.render.files import read_yaml, write_files, write_yaml
from bundler.render.kubernetes import base, canary, chart, components, kserve, models, monitoring, scripts
from bundler.render.kubernetes.scripts import STATE_SCRIPT
from bundler.render.kubernetes.sizes import memory_bytes, startup_seconds
from bundler.render.kubernetes.tree import TREE, Edit, shipped, split_image

__all__ = ["STATE_SCRIPT", "TREE", "memory_bytes", "render", "split_image", "startup_seconds"]

_OPTIONAL = (
    "base/config/batching.config",
    "base/config/monitoring.config",
    "base/serviceaccount.yaml",
    "components/canary/config/batching.config",
    "components/canary/config/monitoring.config",
    "kserve/claim.yaml",
    "kserve/config/batching.config",
    "kserve/config/monitoring.config",
    "kserve/fill.yaml",
    "components/canary/grpcroute.yaml",
    "components/gateway/grpcroute.yaml",
    "components/gpu/autoscaling.yaml",
    "components/metrics/kustomization.yaml",
    "components/metrics/annotations.yaml",
    "components/models-pvc/claim.yaml",
    "components/service-monitor/kustomization.yaml",
    "components/service-monitor/service.yaml",
    "components/service-monitor/servicemonitor.yaml",
    *monitoring.FILES,
)
"""Files that are written only with some settings, or that earlier releases wrote."""


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write k8s/: kustomize's base, components and overlays, the Helm chart, and kserve/. All other files there are kept.

    Raises:
        SpecError: The settings name a model, version or label that does not exist.
    """
    files = {"README.md": shipped("README.md"), **scripts.files()}
    files.update({f"base/config/{name}": text for name, text in tf_serving.config_files(context).items()})
    files |= canary.config_files(context) | kserve.files(context) | chart.files(context) | monitoring.files(context)
    edits: dict[str, Edit] = {}
    for module in (base, components, canary, models, monitoring, kserve):
        edits |= module.edits(context)
    for path, edit in edits.items():
        document = read_yaml(shipped(path))
        edit(document)
        files[path] = write_yaml(document)
    root = BundleLayout(folder).k8s_dir
    earlier = [path.name for path in (root / "kserve" / "config").glob("*")]
    return write_files(root, files, owned=(*_OPTIONAL, *kserve.owned(earlier)))
