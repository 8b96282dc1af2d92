"""Progress on stderr: a progress bar on a terminal, otherwise one plain line per stage of a build or per transfer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bundler.cli.help import is_plain
from bundler.cli.output import console, echo, size
from serving.texts import printable

if TYPE_CHECKING:
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
def transfers() -> Iterator[Callable[[str, int, int], None]]:
    """Return a context with a callback that shows the bytes of downloads, uploads and checks of a store.

    The callback takes what is being done, the bytes that are done, and those that there are in all.
    """
    with _transfer_lines() if is_plain(sys.stderr) else _transfer_bar() as show:
        yield show


@contextmanager
def _transfer_lines() -> Iterator[Callable[[str, int, int], None]]:
    started: dict[str, float] = {}

    def show(title: str, done: int, total: int) -> None:
        started.setdefault(title, time.monotonic())
        if done >= total > 0:
            echo(f"{title}: {size(total)} in {time.monotonic() - started.pop(title):.1f} s")

    yield show


@contextmanager
def _transfer_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar while bytes are moved, and nothing before and after: a build may have bars of its own in between."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description:<8}", markup=False)
    columns = (text, BarColumn(24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar: Progress | None = None

    def show(title: str, done: int, total: int) -> None:
        nonlocal bar
        if total == 0:
            return
        if bar is None:
            bar = Progress(*columns, console=console(stderr=True), transient=True)
            bar.add_task(title, total=total)
            bar.start()
        bar.update(bar.task_ids[0], description=title, completed=done, total=total)
        if done >= total:
            bar.stop()
            bar = None

    try:
        yield show
    finally:
        if bar is not None:
            bar.stop()
