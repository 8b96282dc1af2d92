"""Findings of linters that stay: for each, the object and the reason. A finding that is not listed, or no longer occurs, fails.

The list is printed at the end of a test run that includes test_linters.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

PROPERTY = "linter"
"""The name of the property in which a test says which linter ran, and over what."""

SETTLED = "with all settings"
"""Names of renderings begin with this if every setting has a value that an accepted finding can be avoided with."""


@dataclass(frozen=True)
class Finding:
    """What a linter says about an object: its name, the id of the check, Kind/name or a file, the message, and the rendering."""

    linter: str
    check: str
    where: str
    text: str
    rendering: str


@dataclass(frozen=True)
class Accepted:
    """Findings that stay: the linter, the id of its check, patterns of objects (each has to occur), and the reason.

    `avoidable` says that settings which the reason names avoid the finding: it is not accepted in SETTLED renderings.
    """

    linter: str
    check: str
    where: tuple[str, ...]
    reason: str
    avoidable: bool = False

    def covers(self, finding: Finding) -> bool:
        """Return whether the finding is one of these."""
        same = (self.linter, self.check) == (finding.linter, finding.check)
        avoided = self.avoidable and finding.rendering.startswith(SETTLED)
        return same and not avoided and any(fnmatchcase(finding.where, pattern) for pattern in self.where)


SERVERS = ("Deployment/demo", "Deployment/demo-canary", "Deployment/*-predictor")
"""The pods of the server; KServe makes the last from kserve/."""

FILL = ("Job/demo-fill-*", "Job/demo-kserve-fill-*")
"""The Jobs that copy the models of the image to a claim."""

ACCEPTED = (
    Accepted(
        "checkov", "CKV_K8S_11", SERVERS,
        "no CPU limit: throttling adds latency; the request guarantees a share, and memory has a limit",
    ),
    Accepted(
        "checkov", "CKV_K8S_15", (*SERVERS, *FILL),
        "imagePullPolicy IfNotPresent: tags name versions, and pods have to start while the registry is down",
    ),
    Accepted(
        "checkov", "CKV_K8S_21", ("Deployment/*", "Job/*", "Service/*", "ServiceAccount/*", "ConfigMap/*", "Ingress/*"),
        "no namespace: whoever applies chooses it, or kubernetes.namespace does",
        avoidable=True,
    ),
    Accepted(
        "checkov", "CKV_K8S_35", ("Deployment/demo", "Deployment/demo-canary"),
        "models-bucket: rclone reads its keys from the environment of an init container, which ends before the server starts; "
        "the Secret is optional, a ServiceAccount's identity needs none",
    ),
    Accepted(
        "checkov", "CKV_K8S_43", (*SERVERS, *FILL),
        "an image without a digest: only a registry knows it; kubernetes.*_image and docker.digest take one",
        avoidable=True,
    ),
    Accepted(
        "checkov", "CKV2_K8S_6", ("Pod/*-predictor.*", "Pod/demo-kserve-fill-*"),
        "kserve/ has no NetworkPolicy: requests come from KServe's gateway and models from a store, wherever a cluster has them",
    ),
    Accepted(
        "checkov", "CKV_DOCKER_2", ("Dockerfile.models",),
        "no HEALTHCHECK: the image has only files, it is mounted as a volume and never run",
    ),
    Accepted(
        "helm lint", "icon is recommended", ("Chart.yaml",),
        "no icon: it would be a link to a picture elsewhere, and only catalogues show it",
    ),
)  # fmt: skip


def problems(linter: str, findings: Iterable[Finding]) -> list[str]:
    """Return a line for each finding of a linter that is not accepted, and for each accepted one that does not occur."""
    found = list(findings)
    listed = [row for row in ACCEPTED if row.linter == linter]
    new: dict[tuple[str, str, str], list[str]] = {}
    for finding in found:
        if not any(row.covers(finding) for row in listed):
            new.setdefault((finding.check, finding.where, finding.text), []).append(finding.rendering)
    lines = [f"{linter} {check} {where}: {text} ({', '.join(sorted(set(of)))})" for (check, where, text), of in new.items()]
    for row in listed:
        objects = [finding.where for finding in found if finding.check == row.check]
        for pattern in row.where:
            if not any(fnmatchcase(name, pattern) for name in objects):
                lines.append(f"{linter} {row.check} {pattern}: accepted, but no longer found; remove it from accepted.py")
    return lines


def lines(stats: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return the lines at the end of a test run: the linters that ran, and the findings that are accepted.

    Args:
        stats: the reports of a terminal reporter by outcome; under xdist, the controller's contains those of all workers.
    """
    properties = (pair for report in stats.get("passed", ()) for pair in getattr(report, "user_properties", ()))
    ran = sorted(text for name, text in properties if name == PROPERTY)
    if not ran:
        return []
    accepted = [f"  {row.linter} {row.check} {', '.join(row.where)}: {row.reason}" for row in ACCEPTED]
    return [f"Linters of Kubernetes and Docker files: {', '.join(ran)}", f" {len(accepted)} findings are accepted:", *accepted]
