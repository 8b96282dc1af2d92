"""tfbundle build-job: the manifests of a build in a cluster, for one run."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from bundler.errors import PublishError, SpecError, UsageError
from bundler.render.files import write_files
from bundler.render.kubernetes import build_job
from bundler.spec.bundle_spec import BundleSpec, read_spec
from bundler.values.addresses import StoreAddress

_RUN = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_HEAD = "# Written by tfbundle."
_REQUIRED = ("image", "meet", "output")


def write_build_job(file: Path, folder: Path, run: str | None = None) -> build_job.Run:
    """Write the manifests that build the models of a bundle.yaml in a cluster.

    Args:
        file: the bundle.yaml; the pods find it, under the same name, in the folder `kubernetes.build_job.sources`.
        folder: where to write to.
        run: name of this run, such as the number of a CI build; default: the time.

    Returns:
        What tells this run from others.

    Raises:
        UsageError: the name of the run cannot be a part of an object's name, or a file of the user's is in the way.
        SpecError: the section kubernetes.build_job lacks a setting, or has more shards than there are models.
        PublishError: the folder cannot be written.
    """
    run = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S") if run is None else run
    if not _RUN.fullmatch(run):
        fix = "write lower-case letters, digits and hyphens, at most 40, e.g. --run build-17"
        raise UsageError(f"{run!r} cannot be a part of the names of Kubernetes objects.", where="--run", fix=fix, code="TFB1002")
    spec = read_spec(file)
    _check(spec, file)
    job = spec.kubernetes.build_job
    assert job.meet and job.output
    bundle = PurePosixPath(StoreAddress.parse(job.output).path).name
    this_run = build_job.Run(run, bundle, file.name, build_job.shards_address(job.meet, run))
    _check_folder(folder)
    try:
        write_files(folder, build_job.render(spec, this_run))
    except OSError as exc:
        what = f"{folder} cannot be written: {exc.strerror}."
        raise PublishError(what, fix="choose another folder with -o", code="TFB5001") from exc
    return this_run


def _check(spec: BundleSpec, file: Path) -> None:
    job = spec.kubernetes.build_job
    missing = [name for name in _REQUIRED if getattr(job, name) is None]
    if missing:
        raise SpecError(
            f"The section kubernetes.build_job lacks {' and '.join(missing)}.",
            where=str(file),
            fix="set image (tfbundle and the sources), meet (where shards meet, e.g. s3://bucket/builds) and output (the "
            "bundle, e.g. s3://bucket/digits)",
            code="TFB5251",
        )
    if job.shards > len(spec.models):
        raise SpecError(
            f"kubernetes.build_job has {job.shards} shards for {len(spec.models)} models: some pods would have nothing to build.",
            where=str(file),
            fix=f"set shards: {max(1, len(spec.models))} or fewer",
            code="TFB5251",
        )


def _check_folder(folder: Path) -> None:
    """Raise if a file that is about to be written is not one that tfbundle wrote."""
    for name in build_job.FILES:
        path = folder / name
        if path.exists() and not (path.is_file() and path.read_text("utf-8", "replace").startswith(_HEAD)):
            raise UsageError(
                f"{path} exists, and tfbundle did not write it.", fix="choose another folder with -o", code="TFB1004"
            )
