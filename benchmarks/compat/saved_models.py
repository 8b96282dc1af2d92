"""Builds SavedModels of the zoo with their answers: `python -m benchmarks.compat.saved_models FOLDER`.

Every model becomes FOLDER/NAME/1, and each draw of its inputs FOLDER/NAME/SIGNATURE-DRAW.npz with `in/…` and `out/…`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bundler.saved_model.runner import SavedModel
from bundler.values.input_draws import draws
from tests.zoo import check, table
from tests.zoo.known_failures import REASONS
from tests.zoo.test_zoo import COMPAT


def write(name: str, folder: Path) -> str:
    """Convert one architecture of the zoo, save it, record its answers, and return its name."""
    entry = table.ENTRIES[name]
    with tempfile.TemporaryDirectory() as work:
        converted = check.convert(entry, entry.make(), Path(work))
        converted.model.save(folder / "1")
        served = SavedModel(folder / "1")
        for exported in converted.exported:
            for draw in draws(exported.signature, exported.examples):
                answer = served(exported.name, draw.inputs)
                arrays = {f"in/{k}": v for k, v in draw.inputs.items()} | {f"out/{k}": v for k, v in answer.items()}
                np.savez(folder / f"{exported.name}-{draw.name}.npz", **arrays)
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", metavar="NAME", action="append", help="an architecture; by default the whole zoo")
    parser.add_argument("--marked", action="store_true", help="those that run with other releases of torch, too")
    given = parser.parse_args()
    names = given.only or (COMPAT if given.marked else [name for name in table.ENTRIES if name not in REASONS])
    folders = {name: given.folder / name for name in names if not (given.folder / name).exists()}
    for folder in folders.values():
        folder.mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as processes:
        for name in processes.map(write, folders, folders.values()):
            print(name, flush=True)


if __name__ == "__main__":
    main()
