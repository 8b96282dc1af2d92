"""Settings of the Jobs that build a bundle's models in a cluster: `kubernetes.build_job` in bundle.yaml (tfbundle build-job)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from bundler.errors import UsageError
from bundler.spec.fields import INT32
from bundler.spec.image_names import Image
from bundler.spec.pod_spec import ObjectName, PodSpec
from bundler.spec.signature_spec import Strict
from bundler.values.addresses import OCI, StoreAddress, parse_address

_WRITABLE = ("s3", "gs", "az", "abfs")
"""Stores that every pod can write to."""

VOLUMES = ("sources", "cache", "registry", "tmp")
"""Volumes of the Jobs' pods."""


def _shared(text: str) -> str:
    try:
        address = parse_address(text)
    except UsageError as exc:
        raise ValueError(f"{exc.what} Write it like s3://bucket/builds or oci://registry.example.com/builds") from exc
    if isinstance(address, StoreAddress) and address.scheme not in _WRITABLE:
        others = ", ".join(f"{name}://" for name in _WRITABLE)
        raise ValueError(f"pods cannot write to {text!r}; use {OCI} or one of {others}")
    if not isinstance(address, StoreAddress) and (address.tag or address.digest):
        raise ValueError(f"leave the tag out of {text!r}: each shard has a tag of its own")
    return str(address)


def _store(text: str) -> str:
    address = _shared(text)
    if address.startswith(OCI):
        raise ValueError(f"a bundle is published in a store such as s3://bucket/digits, not in {text!r}; push it from there")
    return address


SharedAddress = Annotated[str, AfterValidator(_shared)]
"""An address that every pod can write to and read from."""


class BuildJobSpec(Strict):
    """The Jobs that `tfbundle build-job` writes: one that builds the models in shards, and one that merges them."""

    image: Image | None = Field(
        None,
        description="Image with tfbundle, what the models need, and their sources. Required by tfbundle build-job.",
        examples=["registry.example.com/builder:1"],
    )
    meet: SharedAddress | None = Field(
        None,
        description="Folder of a store, or repository of a registry, where the shards meet. Required by tfbundle build-job.",
        examples=["s3://bucket/builds"],
    )
    output: Annotated[str, AfterValidator(_store)] | None = Field(
        None,
        description="Address of the bundle that the merge publishes. Required by tfbundle build-job.",
        examples=["s3://bucket/digits"],
    )
    shards: int = Field(4, ge=1, le=100_000, description="Number of shards (completions of the Job).")
    parallelism: int | None = Field(
        None, ge=1, le=100_000, description="Pods that build at the same time. Default: one per shard.", examples=[2]
    )
    jobs: int = Field(1, ge=1, le=1024, description="Processes per pod.")
    retries: int = Field(
        2, ge=0, le=INT32, description="Further pods for a shard whose pod was killed; an error of a model is not tried again."
    )
    deadline: int = Field(21600, ge=60, le=INT32, description="Seconds after which the build, or the wait for it, is given up.")
    sources: str = Field(
        "/sources", pattern=r"^/[A-Za-z0-9._/-]+$", description="Folder in the pods that has bundle.yaml and what it refers to."
    )
    sources_claim: ObjectName | None = Field(
        None, description="Volume claim that is mounted there. Default: the folder is in the image.", examples=["sources"]
    )
    cache_claim: ObjectName | None = Field(
        None,
        description="Volume claim, ReadWriteMany, for finished models: a shard that begins again goes on with what is missing.",
        examples=["build-cache"],
    )
    secret: ObjectName | None = Field(
        None, description="Secret whose keys become variables, such as AWS_ACCESS_KEY_ID.", examples=["builds"]
    )
    registry_secret: ObjectName | None = Field(
        None,
        description="Secret of type kubernetes.io/dockerconfigjson with the credentials of the registry where shards meet.",
        examples=["registry"],
    )
    cpu: str = Field(
        "2",
        pattern=r"^([0-9]{1,9}(\.[0-9]{1,9})?|[0-9]{1,9}m)$",
        coerce_numbers_to_str=True,
        description="CPU request of a pod.",
    )
    memory: str = Field(
        "4Gi",
        pattern=r"^([0-9]{1,18}|[0-9]{1,6}(\.[0-9]{1,6})?([KMGT]i|[kMGT]))$",
        description="Memory request of a pod; the limit is twice that.",
    )
    pod: PodSpec = Field(
        PodSpec(),
        description="Settings of the Jobs' pods, with the keys of kubernetes.pod.",
        examples=[{"node_selector": {"pool": "builds"}}],
    )

    @model_validator(mode="after")
    def _consistent(self) -> BuildJobSpec:
        if self.pod.service_account_annotations:
            raise ValueError(
                "pod.service_account_annotations: the Jobs have no ServiceAccount of their own; name one in pod.service_account"
            )
        for name in (volume["name"] for volume in self.pod.volumes):
            if name in VOLUMES:
                raise ValueError(f"pod.volumes: tfbundle's own volume has the name {name!r}; choose another one, e.g. my-{name}")
        if self.parallelism is not None and self.parallelism > self.shards:
            raise ValueError(f"parallelism {self.parallelism} is more than there are shards; leave it out, or set more shards")
        return self
