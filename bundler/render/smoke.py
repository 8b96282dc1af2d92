"""smoke/: a smoke test that needs only grpcio, protobuf and NumPy.

smoke_test.py                   python smoke/smoke_test.py HOST:PORT [--rest HOST:PORT] [--json]
requirements.txt                the three packages
serving/                        copies of the tfbundle modules that the test imports, and the descriptor set
golden/<model>/<version>.npz    golden data of every version that the bundle's settings serve
"""

from __future__ import annotations

import shutil
from pathlib import Path

import serving
from bundler.bundle.layout import BundleLayout
from bundler.errors import VerifyError
from bundler.render import RenderContext
from bundler.render.files import render_template, write_text
from bundler.render.tf_serving import served_versions

PACKAGE_FILES = (
    "__init__.py", "errors.py", "extras.py", "lazy.py", "texts.py", "client/__init__.py", "client/arguments.py",
    "client/base.py", "client/client.py", "client/connection.py", "client/connection_flags.py", "client/dispatch.py",
    "client/examples.py", "client/grpc_protocol.py", "client/grpc_transport.py", "client/http_exchange.py",
    "client/model_info.py", "client/rest_protocol.py", "client/rest_transport.py", "client/steps.py",
    "client/tls_errors.py", "client/tls_files.py", "client/tokens.py", "client/tracing.py", "client/transport.py",
    "client/wire_protocol.py", "client/wires.py", "golden/__init__.py", "golden/compare.py", "golden/data.py",
    "golden/npz.py", "protocol/__init__.py", "protocol/messages.py", "protocol/tensor_wire.py", "protocol/tensors.py",
    "protocol/tf_serving.desc", "protocol/wire.py", "smoke/__init__.py", "smoke/run.py", "smoke/standalone.py",
    "tracing/__init__.py", "tracing/names.py",
)  # fmt: skip
"""Files of the package `serving` that the smoke test needs; they are copied unchanged."""


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write smoke/ under `folder`, the root of a bundle or of a staging folder with golden data.

    Raises:
        VerifyError: Golden data of a served version is missing.
        SpecError: The settings name a model, version or label that does not exist.
    """
    layout = BundleLayout(folder)
    written = [
        write_text(
            layout.smoke_dir / name, render_template(f"{name}.j2", name=context.name, serving=context.spec.serving)
        )
        for name in ("smoke_test.py", "requirements.txt")
    ]
    written += [
        _copy(Path(serving.__file__).parent / name, layout.smoke_dir / "serving" / name) for name in PACKAGE_FILES
    ]
    for model, versions in served_versions(context).items():
        built = [version for version in versions if not context.is_adopted(model, version)]
        written += [_copy_golden(layout, model, version) for version in built]
    return written


def _copy_golden(layout: BundleLayout, model: str, version: int) -> Path:
    source = layout.golden_file(model, version)
    if not source.is_file():
        raise VerifyError(
            f"The golden data of the model {model!r}, version {version}, is missing.",
            where=str(source),
            fix="build the model again, or remove the version from serving.versions and serving.labels",
            code="TFB5104",
        )
    return _copy(source, layout.smoke_dir / "golden" / model / f"{version}.npz")


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
