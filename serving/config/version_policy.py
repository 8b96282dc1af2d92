"""Version policies: which of a model's versions on disk a server serves (`ServableVersionPolicy`).

Source: sources/storage_path/file_system_storage_path_source.proto of tensorflow/serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from serving.errors import ConfigError


@dataclass(frozen=True)
class Latest:
    """Serve the `count` highest versions on disk. The server's default is the highest one."""

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(
                f"The version policy latest needs num_versions of 1 or more, got {self.count}.",
                fix="set e.g. num_versions: 2",
                code="TFB6102",
            )


@dataclass(frozen=True)
class AllVersions:
    """Serve every version on disk."""


@dataclass(frozen=True)
class Specific:
    """Serve exactly these versions."""

    versions: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.versions or len(set(self.versions)) != len(self.versions):
            raise ConfigError(
                f"The version policy specific must list at least one version, each once, got {list(self.versions)}.",
                fix="write e.g. specific { versions: 1 versions: 2 }",
                code="TFB6102",
            )


VersionPolicy: TypeAlias = "Latest | AllVersions | Specific"


def served_versions(policy: VersionPolicy, available: Sequence[int]) -> tuple[int, ...]:
    """Return the versions that a policy serves when `available` are on disk, in ascending order."""
    if isinstance(policy, Specific):
        return tuple(sorted(set(policy.versions) & set(available)))
    ascending = tuple(sorted(set(available)))
    return ascending if isinstance(policy, AllVersions) else ascending[-policy.count :]


def policy_from_proto(proto: Any) -> VersionPolicy:
    """Read a ServableVersionPolicy message.

    Raises:
        ConfigError: the policy lists no version, or one twice.
    """
    kind = proto.WhichOneof("policy_choice")
    if kind == "specific":
        return Specific(tuple(proto.specific.versions))
    if kind == "all":
        return AllVersions()
    # num_versions 0 and an absent policy both mean the highest version (file_system_storage_path_source.proto).
    return Latest(proto.latest.num_versions or 1)


def write_policy(policy: VersionPolicy, proto: Any) -> None:
    """Fill a ServableVersionPolicy message."""
    if isinstance(policy, Specific):
        proto.specific.versions.extend(policy.versions)
    elif isinstance(policy, AllVersions):
        proto.all.SetInParent()
    else:
        proto.latest.num_versions = policy.count
