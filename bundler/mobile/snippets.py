"""Generates the code of an export: in each of five languages a library, a model that uses it, and a test with golden data.

The libraries are the same in every export: `bundler.mobile.tensors` itself for Python, and files of
bundler/render/templates/mobile for C++, JavaScript, Kotlin and Swift. The models and tests are rendered from templates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundler.mobile import tensors
from bundler.mobile.calls import Call
from bundler.mobile.golden import Golden
from bundler.mobile.literals import cpp_literal, js_literal, kotlin_literal, python_literal, swift_literal
from bundler.mobile.metadata import Labels
from bundler.render.files import read_template, render_template

_COMPILED = {"float32", "int32", "int64", "int8", "bool"}
"""Dtypes of a TensorBuffer (LiteRT, litert/kotlin, com.google.ai.edge.litert.TensorBuffer, 2026-08-21)."""


def libraries() -> dict[str, str]:
    """Return the texts of the libraries, by path in the export."""
    return {
        "python/tfbundle_tensors.py": Path(tensors.__file__).read_text("utf-8"),
        "cpp/tfbundle_tensors.h": read_template("mobile/cpp/tfbundle_tensors.h"),
        "js/tfbundle_tensors.mjs": read_template("mobile/js/tfbundle_tensors.mjs"),
        "kotlin/TfbundleTensors.kt": read_template("mobile/kotlin/TfbundleTensors.kt"),
        "swift/TfbundleTensors.swift": read_template("mobile/swift/TfbundleTensors.swift"),
    }


def snippets(call: Call, golden: Golden, labels: Labels | None) -> dict[str, str]:
    """Return the texts of a model's code and tests, by path in the export.

    Args:
        call: the model.
        golden: its golden data.
        labels: labels of an output, if any.
    """
    compiled = [variant for variant in call.variants if {t.dtype for t in (*variant.inputs, *variant.outputs)} <= _COMPILED]
    unreadable = [variant.name for variant in call.variants if "int8" in {tensor.dtype for tensor in variant.outputs}]
    values: dict[str, Any] = {
        "unreadable": unreadable,
        "readable": next((v.name for v in call.variants if v.name not in unreadable), call.variants[0].name),
        "compiled": compiled,
        "omitted": [variant.name for variant in call.variants if variant not in compiled],
        "call": call,
        "golden": golden,
        "labels": labels,
        "python": python_literal,
        "kotlin": kotlin_literal,
        "swift": swift_literal,
        "cpp": cpp_literal,
        "js": js_literal,
    }
    return {path: render_template(template, **values) for path, template in _templates(call, bool(compiled)).items()}


def _templates(call: Call, is_compiled: bool) -> dict[str, str]:
    compiled = {f"kotlin/{call.class_name}Compiled.kt": "mobile/kotlin/compiled.kt.j2"} if is_compiled else {}
    return {
        f"python/{call.ident}.py": "mobile/python/model.py.j2",
        f"python/test_{call.ident}.py": "mobile/python/test.py.j2",
        f"cpp/{call.ident}.h": "mobile/cpp/model.h.j2",
        f"cpp/{call.ident}.cc": "mobile/cpp/main.cc.j2",
        f"cpp/{call.ident}_test.cc": "mobile/cpp/test.cc.j2",
        f"js/{call.ident}.mjs": "mobile/js/model.mjs.j2",
        f"js/{call.ident}.test.mjs": "mobile/js/test.mjs.j2",
        f"kotlin/{call.class_name}Spec.kt": "mobile/kotlin/spec.kt.j2",
        f"kotlin/{call.class_name}.kt": "mobile/kotlin/model.kt.j2",
        **compiled,
        f"kotlin/{call.class_name}GoldenTest.kt": "mobile/kotlin/test.kt.j2",
        f"swift/{call.class_name}Spec.swift": "mobile/swift/spec.swift.j2",
        f"swift/{call.class_name}.swift": "mobile/swift/model.swift.j2",
        f"swift/{call.class_name}GoldenTest.swift": "mobile/swift/test.swift.j2",
    }
