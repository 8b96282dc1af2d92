"""What one model's code leaves behind in a process does not reach the next."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from bundler.many.isolation import isolated
from bundler.sources.user_code import import_file


def test_modules_of_the_same_name_are_not_mixed_up(tmp_path: Path) -> None:
    before = list(sys.path)
    for value in ("one", "two"):
        folder = tmp_path / value
        folder.mkdir()
        (folder / "common_part.py").write_text(f"VALUE = {value!r}\n")
        (folder / "net.py").write_text("from common_part import VALUE\n")
        with isolated():
            assert value == import_file(folder / "net.py").VALUE
        assert sys.path == before and "common_part" not in sys.modules and "tfbundle_source_net" not in sys.modules
    assert "torch" in sys.modules


def test_random_weights_do_not_depend_on_what_was_built_before() -> None:
    drawn = []
    state = torch.get_rng_state()
    try:
        for _ in range(3):
            with isolated():
                drawn.append(torch.rand(4).tolist())
    finally:
        torch.set_rng_state(state)
    assert drawn[1] == drawn[2]
