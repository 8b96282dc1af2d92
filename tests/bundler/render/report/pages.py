"""Report pages for tests: a manifest with real comparisons, and a parser for the page that is rendered from it."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from bundler.bundle.manifest import Manifest
from bundler.render import RenderContext, report
from bundler.saved_model.summarize import GraphSummary
from bundler.tflite import VariantResult
from bundler.validation.report import ParityReport
from bundler.values.comparison import Row
from serving.golden.compare import Difference, compare
from tests.bundler.render.conftest import DIGITS, MINILM, make_context

VOID = {"meta", "line", "br", "link", "img"}


def parity(output: str, *, wrong: bool = False) -> ParityReport:
    """Return real comparisons: equal, close, far in a variant that is not gated, and with another shape."""
    want = np.linspace(0.5, 2, 20, dtype=np.float32).reshape(2, 10)
    close = compare(output, want, want * np.float32(1 + 3e-6))
    far = compare(output, want, want * np.float32(1.05))
    return ParityReport(
        1e-4,
        (
            Row("serving_default", "example", "onnxruntime", compare(output, want, want)),
            Row("serving_default", "batch-5", "saved_model", far if wrong else close),
            Row("serving_default", "example", "tflite-int8", far, gated=False),
            Row("serving_default", "seq-7", "tflite-int8", compare(output, want, want[:1]), gated=False),
        ),
        left_out=("the sequence lengths of the int8 file are fixed",),
    )


def variant(name: Any, size: int, difference: Difference, **fields: Any) -> VariantResult:
    return VariantResult(
        name,
        Path(f"digits-{name}.tflite"),
        size,
        DIGITS.inputs,
        DIGITS.outputs,
        {1: 1.25, 2: 0.75},
        (("example", replace(difference, max_rel=0.0)), ("random", difference)),
        {difference.output: 0.001},
        {"CONV_2D": 3, "FULLY_CONNECTED": 1},
        {"FULLY_CONNECTED": 1} if name == "int8" else {"CONV_2D": 3, "FULLY_CONNECTED": 1},
        **fields,
    )


def record(signatures: dict[str, Any], proof: ParityReport, **further: Any) -> dict[str, Any]:
    """Return the record of a version as the pipeline writes it, from values of its stages."""
    ops = {"Conv2D": 20, "MatMul": 1, **{f"Op{i:02}": 2 for i in range(14)}}
    return {
        "created": "2026-03-04T05:06:07+00:00",
        "source": {
            "source": "examples/digits_cnn.py:digits_cnn",
            "sha256": "ab" * 32,
            "parameters": 26090,
        },
        "converter": "native",
        "layout": "keep",
        "permutations": {},
        "opset": 23,
        "signatures": {name: signature.to_json() for name, signature in signatures.items()},
        "parity": proof.to_json(),
        "graph": GraphSummary(ops, 1, 102400).to_json(),
        "tflite": {},
        "stages": {
            "load": 0.5,
            "export": 2.0,
            "convert": 1.25,
            "saved_model": 0.25,
            "tflite": 3.0,
            "parity": 1.0,
        },
        **further,
    }


def make_manifest(**changed: Any) -> dict[str, Any]:
    """Return the content of bundle.json of the fixture bundle; `changed` replaces keys of digits version 3."""
    close = compare("logits", np.ones(10, np.float32), np.ones(10, np.float32) * np.float32(1.0025))
    variants = (
        variant("float16", 56_000, close),
        variant(
            "int8",
            33_000,
            close,
            calibration={"source": "calibration.npz", "samples": 200},
            notes=("slow",),
        ),
    )
    results = {"pytorch": 0.9978, "saved_model": 0.9978, "int8": 0.9956}
    digits = record(
        {"classify": DIGITS, "serving_default": DIGITS},
        parity("logits"),
        tflite={result.variant: result.to_json() for result in variants},
        evaluation={"metric": "accuracy", "data": "held-out digits", "samples": 450, "results": results},
    )
    pairs = {
        "metric": "cosine similarity",
        "data": ["cat | kitten", "cat | tax"],
        "samples": 2,
        "results": {"pytorch": [0.91, 0.08], "saved_model": [0.91, 0.08]},
    }
    minilm = record({"serving_default": MINILM}, parity("embedding"), evaluation=pairs)
    older = record({"serving_default": DIGITS}, parity("logits"))
    manifest = Manifest(
        {},
        {"digits": {1: older, 2: older, 3: {**digits, **changed}}, "minilm": {4: minilm}},
        tools={"tfbundle": "0.1.0", "torch": "2.13.0"},
    )
    return json.loads(manifest.to_bytes())  # type: ignore[no-any-return]


def with_manifest(manifest: dict[str, Any], **serving: Any) -> RenderContext:
    return replace(make_context(serving=serving), manifest=manifest)


def page_of(context: RenderContext, folder: Path) -> str:
    assert report.render(context, folder) == [folder / "report.html"]
    return (folder / "report.html").read_text("utf-8")


class Page(HTMLParser):
    """The tags, text, table rows and charts of a page. It fails on a tag that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.text = ""
        self.charts: list[tuple[str, list[str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "li" and "figure" in self.open:
            self.charts[-1][1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "figcaption":
            self.charts.append((data, []))
        if "figure" in self.open and self.open[-1] == "span":
            bars = self.charts[-1][1]
            bars[-1] = f"{bars[-1]} {data}".strip()
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data.strip()

    def bars(self, title: str) -> list[str]:
        """Return label and value of each bar in the chart with this title."""
        return next(bars for name, bars in self.charts if name == title)

    def values_of(self, attribute: str) -> list[str]:
        """Return the values of an attribute in all tags."""
        return [str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs]


def assert_accessible(page: Page) -> None:
    """Check ids, labels, table headings and heading levels, which keyboards and screen readers rely on."""
    ids = page.values_of("id")
    assert [i for i, count in Counter(ids).items() if count > 1] == []
    for attribute in ("aria-labelledby", "aria-describedby"):
        assert set(page.values_of(attribute)) <= set(ids)
    assert {target[1:] for target in page.values_of("href")} <= set(ids)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("table") == tags.count("caption")
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in page.tags if tag == "th")
    assert all(attrs["aria-hidden"] == "true" for tag, attrs in page.tags if tag == "svg")  # the text is next to it
    assert tags.count("figure") == tags.count("figcaption") > 0
    assert ("html", {"lang": "en"}) in page.tags
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
