"""Progress on stderr: a bar on a terminal, otherwise one plain line per stage of a build, or per part of a push or pull."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from bundler.cli.help import is_plain
from bundler.cli.output import console, echo, size
from serving.texts import printable

if TYPE_CHECKING:
    from bundler.delivery.transfers import Progress as TransferProgress
    from bundler.delivery.transfers import Transfer
    from bundler.operations.many import Hooks, Outcome
    from bundler.pipeline import Progress, StageEvent

_LABELS = {
    "load": "load the model",
    "export": "export to ONNX",
    "explain": "check every operator",
    "convert": "convert to TensorFlow",
    "saved_model": "write the SavedModel",
    "precision": "build and measure bfloat16",
    "tflite": "build TFLite variants",
    "fast_path": "build and run model.tflite",
    "choose": "build and measure every form",
    "parity": "compare with PyTorch",
    "evaluate": "measure accuracy",
    "compare": "compare with the version in service",
    "render": "write configs, manifests, report",
    "publish": "publish",
}


@contextmanager
def stages(total: int) -> Iterator[Progress]:
    """Return a context with a callback that shows the events of the pipeline.

    Args:
        total: number of stages.
    """
    with _lines() if is_plain(sys.stderr) else _bar(total) as show:
        yield show


@contextmanager
def _lines() -> Iterator[Progress]:
    def show(event: StageEvent) -> None:
        if event.status == "finished" or (event.part and event.status == "failed"):
            echo(f"{_title(event)}: {event.seconds:.1f} s{_suffix(event)}")

    yield show


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def show(event: StageEvent) -> None:
            if event.status == "started":
                bar.update(task, description=_title(event))
                return
            mark, style = ("✓", "green") if event.status == "finished" else ("✗", "red")
            bar.console.print(f"{mark} {_title(event):<44} {event.seconds:6.1f} s", style=style)
            if not event.part:
                bar.advance(task)

        yield show


def _title(event: StageEvent) -> str:
    label = f"TFLite {event.part}" if event.part else _LABELS[event.stage]
    return printable(f"{event.model}: {label}" if event.model else label)


def _suffix(event: StageEvent) -> str:
    return " (left out)" if event.status == "failed" else ""


@contextmanager
def transfers() -> Iterator[TransferProgress]:
    """Return a context with a callback that shows the parts of a push or pull."""
    with _transfer_lines() if is_plain(sys.stderr) else _transfer_bars() as show:
        yield show


@contextmanager
def _transfer_lines() -> Iterator[TransferProgress]:
    def show(transfer: Transfer) -> None:
        if transfer.outcome in ("pushed", "mounted", "pulled"):
            echo(f"{transfer.name}: {transfer.outcome}, {size(transfer.size)}")

    yield show


@contextmanager
def _transfer_bars() -> Iterator[TransferProgress]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(24), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def show(transfer: Transfer) -> None:
            key = (transfer.name, transfer.verb)
            if transfer.outcome is None:
                if key not in tasks:
                    tasks[key] = bars.add_task(printable(f"{transfer.verb} {transfer.name}"), total=transfer.size)
                bars.update(tasks[key], completed=transfer.done)
                return
            for name, verb in [known for known in tasks if known[0] == transfer.name]:
                bars.remove_task(tasks.pop((name, verb)))
            if transfer.outcome != "skipped":
                bars.console.print(f"✓ {printable(transfer.name)} {transfer.outcome}, {size(transfer.size)}", style="green")

        yield show


@contextmanager
def models(total: int) -> Iterator[Hooks]:
    """Return a context with hooks that show a build of many models: which run, what each came to, and how many are left.

    Args:
        total: number of models.
    """
    with _model_lines(total) if is_plain(sys.stderr) else _model_bars(total) as hooks:
        yield hooks


def _ending(outcome: Outcome) -> str:
    """Return what became of a model, as a line."""
    name = outcome.unit.name
    if outcome.error is not None:
        code = f" [{outcome.error.code}]" if outcome.error.code else ""
        return printable(f"{name}: failed after {outcome.seconds:.1f} s: {outcome.error.what.splitlines()[0]}{code}")
    return printable(f"{name}: from the cache" if outcome.is_cached else f"{name}: built in {outcome.seconds:.1f} s")


@contextmanager
def _model_lines(total: int) -> Iterator[Hooks]:
    from bundler.operations.many import Hooks

    ended = count(1)

    def show(event: StageEvent) -> None:
        if event.status == "finished" and not event.model:
            echo(f"{_title(event)}: {event.seconds:.1f} s")

    yield Hooks(show, echo, lambda outcome: echo(f"[{next(ended)}/{total}] {_ending(outcome)}"))


@contextmanager
def _model_bars(total: int) -> Iterator[Hooks]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from bundler.operations.many import Hooks

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        whole = bar.add_task("models", total=total)
        running: dict[str, Any] = {}

        def show(event: StageEvent) -> None:
            if event.status != "started":
                return
            if event.model not in running:
                running[event.model] = bar.add_task("", total=None)
            bar.update(running[event.model], description=_title(event))

        def ended(outcome: Outcome) -> None:
            if outcome.unit.name in running:
                bar.remove_task(running.pop(outcome.unit.name))
            mark, style = ("✗", "red") if outcome.error else ("✓", "green")
            bar.console.print(f"{mark} {_ending(outcome)}", style=style)
            bar.advance(whole)

        yield Hooks(show, lambda text: bar.console.print(printable(text), style="yellow"), ended)
