"""report.html: the figures of bundle.json stand in it, as a page that a browser draws and a screen reader reads."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import VerifyError
from bundler.render import RenderContext, report, texts
from bundler.render.report import charts
from bundler.saved_model.summarize import GraphSummary
from bundler.tflite import VariantResult
from bundler.validation.report import ParityReport
from bundler.values.comparison import Row
from serving.golden.compare import Difference, compare
from tests import chromium
from tests.bundler.render.conftest import DIGITS, MINILM, make_context
from tests.requirements import require, require_package

REFUSED = {"int16x8": {"reason": "below its gate: accuracy 0.5", "below_gate": True, "layers": [], "mix": ["conv"]}}
VOID = {"meta", "line", "br", "link", "img"}


def parity(output: str, *, wrong: bool = False) -> ParityReport:
    """Rows of real comparisons: equal, close, far in a variant that is not gated, and of another shape."""
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
    """What the pipeline keeps of a version, from the values of its stages."""
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
    """bundle.json of the fixture bundle, through the form that is written; `changed` goes into digits version 3."""
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
        tflite={one.variant: one.to_json() for one in variants},
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
    """Tags, text and table rows of a page; fails on a tag that is not closed."""

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
        """What stands beside the bars of the chart with this title: label and value."""
        return next(bars for name, bars in self.charts if name == title)

    def named(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(page_of(with_manifest(make_manifest(), labels={"digits": {"stable": 1}}), tmp_path))


def test_one_file_without_script_that_loads_nothing(page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(target.startswith("#") for target in page.named("href"))
    assert page.named("src") == []
    policy = next(attrs for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert "default-src 'none'" in str(policy["content"])


def test_it_can_be_read_without_seeing_it(page: Page) -> None:
    ids = page.named("id")
    assert [i for i, count in Counter(ids).items() if count > 1] == []
    for attribute in ("aria-labelledby", "aria-describedby"):
        assert set(page.named(attribute)) <= set(ids)
    assert {target[1:] for target in page.named("href")} <= set(ids)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("table") == tags.count("caption")
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in page.tags if tag == "th")
    assert all(attrs["aria-hidden"] == "true" for tag, attrs in page.tags if tag == "svg")  # its text stands beside it
    assert tags.count("figure") == tags.count("figcaption") > 0
    assert ("html", {"lang": "en"}) in page.tags
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_parity_of_every_output_and_draw(page: Page) -> None:
    assert [
        "SavedModel",
        "serving_default",
        "logits",
        "1",
        "6e-06",
        "3e-06",
        "batch-5",
        "passed",
    ] in page.rows
    assert [
        "SavedModel",
        "serving_default",
        "embedding",
        "1",
        "6e-06",
        "3e-06",
        "batch-5",
        "passed",
    ] in page.rows
    assert [
        "ONNX Runtime",
        "serving_default",
        "example",
        "logits",
        "0 (equal)",
        "0 (equal)",
        "passed",
    ] in page.rows
    worst = next(
        row for row in page.rows if row[0] == "TFLite int8" and len(row) == 8 and row[2] == "logits"
    )
    assert worst[5:] == ["not comparable", "seq-7", "reported"]
    draw = next(
        row for row in page.rows if row[:4] == ["TFLite int8", "serving_default", "seq-7", "logits"]
    )
    assert draw[4] == "expected shape [2, 10], got [1, 10]"
    assert "Not compared: the sequence lengths of the int8 file are fixed" in page.text


def test_tflite_variants_with_their_figures(page: Page) -> None:
    rows = {row[0]: row for row in page.rows if len(row) == 8 and row[0] in ("float16", "int8")}
    assert rows["float16"][1:3] == ["54.7 KiB", "1.25 ms (1), 0.75 ms (2)"]
    assert rows["int8"][1:] == [
        "32.2 KiB", "1.25 ms (1), 0.75 ms (2)", "0.0025", "0.0025", "logits, random", "4", "1",
    ]  # fmt: skip
    assert "int8: calibration: samples 200; source calibration.npz" in page.text
    assert "int8: slow" in page.text


def test_accuracy_graph_stages_and_versions(page: Page) -> None:
    assert "450 samples: held-out digits" in page.text
    assert page.bars("450 samples: held-out digits") == ["PyTorch 0.9978", "SavedModel 0.9978", "int8 0.9956"]
    assert ["Data", "PyTorch", "SavedModel"] in page.rows
    assert ["cat | tax", "0.0800", "0.0800"] in page.rows
    assert "49 TensorFlow nodes, 1 transpose" in page.text
    drawn = page.bars("49 TensorFlow nodes, 1 transpose")
    assert (drawn[0], drawn[-1], len(drawn)) == ("Conv2D 20", "4 other operators 7", 13)
    assert ["Op13", "2"] in page.rows and ["Conv2D", "20"] in page.rows
    assert ["Operator", "float16", "int8"] in page.rows and ["CONV_2D", "3", "3"] in page.rows
    assert page.bars("Stages of the build, 8 s") == [
        "Load 0.5 s", "Export 2 s", "Convert 1.25 s", "SavedModel 0.25 s", "TFLite 3 s", "Parity 1 s",
    ]  # fmt: skip
    built = "2026-03-04 05:06 UTC"
    versions = [row for row in page.rows if len(row) == 10 and row[1] == built]
    assert [(row[0], row[2]) for row in versions] == [
        ("3", "yes"),
        ("2", "no"),
        ("1", "yes"),
        ("4", "yes"),
    ]
    assert versions[0][3:9] == ["✓ passed", "3e-06", "accuracy 0.9978", "49", "1", "100 KiB"]
    assert versions[1][5] == "–"


def test_versions_beside_each_other(tmp_path: Path) -> None:
    manifest = make_manifest()
    versions = manifest["models"]["digits"]["versions"]
    small = {**versions["3"]["tflite"]["int8"], "size_bytes": 20_480}
    versions["2"] = {**versions["2"], "graph": {**versions["2"]["graph"], "weight_bytes": 51_200}, "tflite": {"int8": small}}
    page = Page(page_of(with_manifest(manifest), tmp_path))
    weights = page.bars("Weights of the SavedModel")
    assert weights == ["version 3 100 KiB", "version 2 50 KiB", "version 1 100 KiB"]
    assert ["int8", "3", "32.2 KiB", "1.25 ms", "0.0025", "–"] in page.rows
    assert ["int8", "2", "20 KiB", "1.25 ms", "0.0025", "–"] in page.rows
    assert page.text.count("Weights of the SavedModel") == 1  # minilm has one version


def test_signatures_and_how_to_serve(page: Page) -> None:
    assert ["image", "float32", "batch, 1, 8, 8"] in page.rows
    assert ["attention_mask", "int64", "batch, seq"] in page.rows
    captions = re.findall(r"Inputs of (\w+)", page.text)
    assert captions == ["serving_default", "classify", "serving_default"]
    assert 'client.predict("minilm", input_ids=input_ids, attention_mask=attention_mask)' in page.text
    assert "kubectl apply -k k8s/overlays/prod" in page.text
    assert "26,090" in page.text


def test_a_failed_comparison_is_said_in_words(tmp_path: Path) -> None:
    manifest = make_manifest(parity=parity("logits", wrong=True).to_json())
    page = Page(page_of(with_manifest(manifest), tmp_path))
    assert ["digits", "3", "✗ failed", "0.05", "float16, int8"] in page.rows
    assert any(row[0] == "SavedModel" and row[-1] == "FAILED" for row in page.rows)


def test_what_the_user_named_is_text_and_not_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> & 'x'"
    text = page_of(with_manifest(make_manifest(source={"source": evil})), tmp_path)
    assert "<script>" not in text
    assert evil in Page(text).text


@pytest.mark.parametrize("key", ["parity", "graph", "tflite", "stages", "signatures"])
def test_a_record_that_lacks_something_is_an_error_and_not_a_gap(key: str, tmp_path: Path) -> None:
    manifest = make_manifest()
    del manifest["models"]["digits"]["versions"]["3"][key]
    with pytest.raises(VerifyError, match=rf"models\.digits\.versions\.3\.{key}"):
        report.render(with_manifest(manifest), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_evaluation_must_fit_its_data(tmp_path: Path) -> None:
    wrong = {"metric": "similarity", "data": ["a", "b"], "samples": 2, "results": {"pytorch": [0.5]}}
    with pytest.raises(VerifyError, match="pytorch has 1 figures for 2 entries"):
        report.render(with_manifest(make_manifest(evaluation=wrong)), tmp_path)


@pytest.mark.parametrize(
    ("error", "share"),
    [(0.0, 0.0), (1e-12, 0.0), (1e-9, 0.0), (1e-6, 1 / 3), (1e-3, 2 / 3), (1, 1), (math.inf, 1)],
)
def test_the_scale_of_errors(error: float, share: float) -> None:
    assert charts.on_scale(error) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (90 * 2**20, "90 MiB"), (3 * 2**30, "3 GiB")],
)
def test_sizes_as_text(size: int, text: str) -> None:
    assert texts.size_text(size) == text


def test_the_longest_bar_fills_the_width() -> None:
    chart = charts.linear("t", [("a", 2.0, "2"), ("b", 8.0, "8")])
    assert [bar.share for bar in chart.bars] == [0.25, 1.0]
    assert [bar.share for bar in charts.linear("t", [("a", 0.0, "0")]).bars] == [0.0]


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (360, True)])
def test_a_browser_draws_it(width: int, dark: bool, tmp_path: Path) -> None:
    """Real Chromium: the style applies under the page's own policy, the bars have their colours, axe-core and the console
    have nothing to say, and nothing is loaded."""
    require(not chromium.missing(), chromium.missing())
    images = require_package("PIL.Image", "pip install pillow")
    page_of(with_manifest(make_manifest(tflite_refused=REFUSED)), tmp_path)
    shot, address = tmp_path / "shot.png", (tmp_path / "report.html").as_uri()
    with chromium.chromium(tmp_path / "profile", dark=dark) as browser:
        chromium.resize(browser, width, 900, mobile=width < 500)
        chromium.requested(browser)
        browser.get(address)
        browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert chromium.violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert chromium.requested(browser) == [address]
        assert chromium.console(browser) == []
        chromium.screenshot(browser, shot)
    with images.open(shot) as image:
        colours = Counter({colour: count for count, colour in image.convert("RGB").getcolors(1 << 24)})
    light = ((0x1F, 0x7A, 0x4D), (0x3A, 0x6F, 0xB7), (0x7B, 0x84, 0x99))
    night = ((0x5C, 0xC0, 0x8E), (0x7A, 0xA7, 0xE8), (0x8B, 0x95, 0xA9))
    # A bar is 16 pixels high; a few of them have thousands of pixels.
    assert all(colours[colour] > 1000 for colour in (night if dark else light)), colours.most_common(20)
