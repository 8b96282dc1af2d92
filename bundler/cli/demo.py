"""tfbundle demo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.build import summarize
from bundler.cli.output import note, say, table
from bundler.cli.progress import stages

if TYPE_CHECKING:
    from bundler.validation.bundle import Bundle


def demo(
    output: Annotated[Path, typer.Option("-o", "--output-dir", help="Folder of the bundle.")] = Path(
        "dist/demo"
    ),
) -> None:
    """Build two real models into one bundle, serve it, and smoke-test it without torch or TensorFlow.

    A small network is trained on scikit-learn's digits and built with TFLite variants that must keep its accuracy. A
    sentence encoder (all-MiniLM-L6-v2) is built with its published weights.
    """
    from bundler.demo import steps
    from bundler.process.extras import require

    require("demo", "The demo")
    start = time.perf_counter()
    with cleanly_interrupted(f"every version in {output} is complete."):
        say("1. Train a small network on real digits and build it with TFLite variants", style="bold")
        with stages(9) as progress:
            bundle = steps.build_digits(output, progress)
        _accuracies(bundle)
        say("2. Build a sentence encoder with its published weights", style="bold")
        with stages(8) as progress:
            bundle = steps.build_minilm(output, progress)
        for notice in bundle.notices:
            note(notice)
        say("3. Serve both in a separate process", style="bold")
        with steps.served(output) as endpoints:
            say(f"gRPC {endpoints.grpc}, REST http://{endpoints.rest}/v1/models/digits")
            _answers(steps.answer(endpoints))
            say("4. Run the smoke test in a process that has only grpcio, protobuf and NumPy", style="bold")
            for line in steps.smoke_test(output, endpoints).splitlines():
                if not line.startswith("passed"):
                    say(line)
    say("5. Files that were written", style="bold")
    summarize(bundle, output)
    _places(bundle, output)
    say(f"Done in {time.perf_counter() - start:.0f} s.", style="bold green")


def _accuracies(bundle: Bundle) -> None:
    measured = bundle.record("digits")["evaluation"]
    rows = [(name, f"{value:.2%}") for name, value in sorted(measured["results"].items(), key=_order)]
    table((f"accuracy on {measured['samples']} held-out images", ""), rows)


def _places(bundle: Bundle, shown: Path) -> None:
    layout = bundle.layout
    places = {
        "SavedModels": layout.models_dir,
        "TFLite files": layout.tflite_dir("digits", bundle.versions("digits")[-1]),
        "TF Serving configs": layout.serving_dir,
        "Kubernetes": layout.k8s_dir,
        "Docker": layout.docker_dir,
        "smoke test": layout.smoke_dir / "smoke_test.py",
        "report": layout.report,
        "list of all files, with hashes": layout.manifest,
    }
    table(("content", "path"), [(content, str(shown / layout.relative(path))) for content, path in places.items()])


def _order(row: tuple[str, float]) -> tuple[bool, bool, str]:
    return row[0] != "pytorch", row[0] != "saved_model", row[0]


def _answers(answers: dict[str, dict[str, int] | list[dict[str, object]]]) -> None:
    digit = answers["digit"]
    assert isinstance(digit, dict)
    say(f"digits: the first held-out image shows a {digit['label']}; the server answers {digit['answer']}")
    rows = [(f"{row['similarity']:.2f}", " | ".join(row["pair"])) for row in answers["sentences"]]  # type: ignore
    table(("similarity", "minilm: pair of sentences"), rows)
