"""The Jobs that build a bundle's models in a cluster: an Indexed Job with a pod per shard, and one that merges the shards.

They are no part of a bundle's k8s/: they run before the bundle exists (`tfbundle build-job`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bundler.render import RenderContext, dns_label
from bundler.render.files import read_template, read_yaml, write_yaml
from bundler.render.kubernetes import pods
from bundler.render.kubernetes.tree import INSTANCE, set_namespace
from bundler.spec.build_job_spec import BuildJobSpec
from bundler.spec.bundle_spec import BundleSpec
from bundler.values.addresses import OCI

FILES = ("kustomization.yaml", "build.yaml", "merge.yaml")

CACHE_DIR = "/cache"
REGISTRY_DIR = "/registry"
_MERGE_RESOURCES = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
"""Resources of the merge, which copies files and waits."""

_MERGE_MARGIN_S = 3600
"""Time that the merge has once all shards have come, or have been given up."""


@dataclass(frozen=True)
class Run:
    """One run of the build.

    Attributes:
        name: tells it from other runs: a part of the objects' names, and of the shards' address.
        bundle: name of the bundle.
        file: name of the bundle.yaml in the folder of sources.
        shards: where its shards meet.
    """

    name: str
    bundle: str
    file: str
    shards: str


def shards_address(meet: str, run: str) -> str:
    """Return the address of a run's shards: a folder, or what their tags in a repository begin with."""
    return f"{meet}:{run}" if meet.startswith(OCI) else f"{meet}/{run}"


def render(spec: BundleSpec, run: Run) -> dict[str, str]:
    """Return the text of each file, by name. `image`, `meet` and `output` of the section must be set."""
    context = _context(spec, run)
    documents = {name: read_yaml(read_template(f"build_job/{name}")) for name in FILES}
    set_namespace(context, documents["kustomization.yaml"])
    _build(context, run, documents["build.yaml"])
    _merge(context, run, documents["merge.yaml"])
    return {name: write_yaml(document) for name, document in documents.items()}


def build_arguments(job: BuildJobSpec, run: Run) -> list[str]:
    """Return the arguments of `tfbundle build` in a pod, which finds its shard in JOB_COMPLETION_INDEX."""
    cache = [f"--cache={CACHE_DIR}"] if job.cache_claim else []
    return [run.file, f"--shard=job/{job.shards}", f"--jobs={job.jobs}", *cache, f"--output-dir={run.shards}"]


def merge_arguments(job: BuildJobSpec, run: Run) -> list[str]:
    """Return the arguments of `tfbundle merge`, which waits for the shards."""
    return [f"--output-dir={job.output}", f"--wait={job.deadline}", run.shards]


def _context(spec: BundleSpec, run: Run) -> RenderContext:
    """Return a context in which the settings of pods are those of the Jobs."""
    job = spec.kubernetes.build_job
    settings = {"pod": job.pod, "cpu": job.cpu, "memory": job.memory}
    kubernetes = spec.kubernetes.model_copy(update=settings)
    return RenderContext(dns_label(run.bundle), spec.model_copy(update={"kubernetes": kubernetes}), ())


def _build(context: RenderContext, run: Run, document: Any) -> None:
    job = context.spec.kubernetes.build_job
    container = _set_job(context, run, document)
    spec = document["spec"]
    spec["completions"] = job.shards
    spec["parallelism"] = job.parallelism or job.shards
    spec["backoffLimitPerIndex"] = job.retries
    spec["activeDeadlineSeconds"] = job.deadline
    container["args"] = build_arguments(job, run)
    if job.cache_claim:
        _add_volume(spec, "cache", {"persistentVolumeClaim": {"claimName": job.cache_claim}}, CACHE_DIR)


def _merge(context: RenderContext, run: Run, document: Any) -> None:
    job = context.spec.kubernetes.build_job
    container = _set_job(context, run, document)
    document["spec"]["activeDeadlineSeconds"] = job.deadline + _MERGE_MARGIN_S
    container["args"] = merge_arguments(job, run)
    for kind, values in _MERGE_RESOURCES.items():
        pods.set_mapping(container["resources"][kind], values)


def _set_job(context: RenderContext, run: Run, document: Any) -> Any:
    """Set what both Jobs have in common; return the container."""
    job = context.spec.kubernetes.build_job
    spec, template = document["spec"], document["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    document["metadata"]["name"] = dns_label(f"{context.objects_name}-{container['name']}-{run.name}")
    for labels in (document["metadata"]["labels"], template["metadata"]["labels"]):
        labels[INSTANCE] = context.objects_name
    container["image"] = job.image
    container["workingDir"] = job.sources
    environment = list(container["env"])
    pods.set_metadata(context, template)
    pod.update(pods.pod_fields(context))
    if job.pod.service_account:
        pod["serviceAccountName"] = job.pod.service_account
    pods.set_mapping(pod["securityContext"], pods.security_with_files(context))
    pod["volumes"].extend(pods.plain(job.pod.volumes))
    pods.set_container(context, container)
    own = {variable["name"] for variable in job.pod.env}
    container["env"] = [each for each in environment if each["name"] not in own] + pods.plain(job.pod.env)
    if job.secret:
        container["envFrom"] = [{"secretRef": {"name": job.secret}}, *pods.plain(job.pod.env_from)]
    if job.sources_claim:
        _add_volume(spec, "sources", {"persistentVolumeClaim": {"claimName": job.sources_claim, "readOnly": True}}, job.sources)
        container["volumeMounts"][-1]["readOnly"] = True
    if job.registry_secret and run.shards.startswith(OCI):
        _set_registry(spec, job.registry_secret)
    return container


def _set_registry(spec: Any, secret: str) -> None:
    """Mount a registry's credentials as the folder that DOCKER_CONFIG names."""
    items = [{"key": ".dockerconfigjson", "path": "config.json"}]
    _add_volume(spec, "registry", {"secret": {"secretName": secret, "items": items}}, REGISTRY_DIR)
    container = spec["template"]["spec"]["containers"][0]
    container["volumeMounts"][-1]["readOnly"] = True
    container["env"].append({"name": "DOCKER_CONFIG", "value": REGISTRY_DIR})


def _add_volume(spec: Any, name: str, source: dict[str, Any], folder: str) -> None:
    pod = spec["template"]["spec"]
    pod["volumes"].append({"name": name, **source})
    pod["containers"][0]["volumeMounts"].append({"name": name, "mountPath": folder})
