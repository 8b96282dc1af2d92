"""The web page of an export: it runs the .tflite files with LiteRT.js in the browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from bundler.mobile.calls import Argument, VariantCall, call_of
from bundler.mobile.exported import ExportedModel
from bundler.mobile.metadata import Image
from bundler.mobile.model import MobileModel, MobileVariant, Preprocessing
from bundler.render.files import read_template, render_template

LITERT_JS = "2.5.3"
"""Version of the npm packages."""

HASHES = {
    "@litertjs/core": "sha384-MapSVJ/DPwvaWpp7q+Bid9O3uY1oB0KOU1QRMP+Mm5zdz5oMme/BUyX6dVAMWnPg",
    "@litertjs/wasm-utils": "sha384-HIPwlWsctS5BRqrnvJKDVJ8SvqKB0QmiImdr6+hpP7+8UqeMJX/qrBkdfKQV2WZ/",
}
"""Hashes of each package's dist/index.js, which the browser checks."""

DTYPES = ("float32", "int32", "uint8")
"""The types that LiteRT.js takes (datatypes.ts, SUPPORTED_DTYPES, version 2.5.3)."""

PAGE = "web/index.html"

_UNSCALED = Preprocessing((0.0,), (1.0,))
_TO_ONE = Preprocessing((0.0,), (255.0,))


def web_page(title: str, exported: Sequence[ExportedModel]) -> dict[str, str]:
    """Return the texts of the page's files by path in the export; empty if LiteRT.js can run none of the .tflite files.

    Args:
        title: name of the bundle.
        exported: the exported models.
    """
    files = list(_files(exported))
    if not files:
        return {}
    page = render_template("mobile/web/index.html.j2", title=title, models=files, version=LITERT_JS, hashes=HASHES)
    scripts = {f"web/{name}": read_template(f"mobile/web/{name}") for name in ("model.js", "page.js")}
    return {PAGE: page, **scripts}


def unfit_for_web(variant: MobileVariant) -> str:
    """Return why LiteRT.js cannot run a file, such as `x is int64`; empty if it can."""
    flex = sorted(name for name in variant.operators if name.startswith("Flex"))
    if flex:
        return f"{flex[0]} needs the Flex delegate"
    if variant.has_variables:
        return "its LSTM operator has variable tensors"
    unfit = [spec for spec in (*variant.inputs, *variant.outputs) if spec.dtype not in DTYPES]
    return f"{unfit[0].name} is {unfit[0].dtype}" if unfit else ""


def _files(exported: Sequence[ExportedModel]) -> Iterator[dict[str, Any]]:
    for one in exported:
        call = call_of(_with_preprocessing(one.model), one.files)
        known = one.model.preprocessing is not None
        images = {call.image.name: {**asdict(call.image.spec), "known": known}} if call.image else {}
        for variant, described in zip(one.model.variants, call.variants, strict=True):
            if not unfit_for_web(variant):
                yield _file(one, described, images)


def _with_preprocessing(model: MobileModel) -> MobileModel:
    """Return the model with a preprocessing: pixels as they are for integers, otherwise pixels of 0 to 1, unless it is known."""
    if model.preprocessing:
        return model
    images = [spec for spec in model.variants[0].inputs if Image.of(spec)]
    is_integer = bool(images) and images[0].dtype != "float32" and images[0].name not in model.variants[0].scales
    return replace(model, preprocessing=_UNSCALED if is_integer else _TO_ONE)


def _file(exported: ExportedModel, variant: VariantCall, images: Mapping[str, Any]) -> dict[str, Any]:
    model, labels = exported.model, exported.labels
    return {
        "file": variant.file,
        "title": f"{model.name} version {model.version}, {variant.name}",
        "inputs": [{**_tensor(argument), "image": images.get(argument.name)} for argument in variant.inputs],
        "outputs": [_tensor(argument) for argument in variant.outputs],
        "labels": {"output": labels.output, "file": labels.file} if labels else None,
    }


def _tensor(argument: Argument) -> dict[str, Any]:
    return {
        "name": argument.name,
        "dtype": argument.dtype,
        "shape": argument.shape,
        "scale": argument.scale,
        "zeroPoint": argument.zero_point,
        "remark": argument.remark,
    }
