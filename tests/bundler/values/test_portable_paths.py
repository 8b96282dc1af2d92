"""Paths of the machine that builds are shortened, and names that look like paths are not."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from bundler.values.portable_paths import PortablePaths


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "my project"
    (base / "nets").mkdir(parents=True)
    (base / "nets" / "a.py").write_text("")
    (tmp_path / "elsewhere.npz").write_text("")
    return base


def test_paths_below_the_base_become_relative(base: Path) -> None:
    paths = PortablePaths(base)
    assert paths.text(f"{base}/nets/a.py:make") == "nets/a.py:make"
    assert paths.text(f"hf:{base}/nets") == "hf:nets"
    assert paths.text(f'File "{base}/nets/a.py", line 1') == 'File "nets/a.py", line 1'


def test_paths_elsewhere_become_names(base: Path, tmp_path: Path) -> None:
    paths = PortablePaths(base)
    assert paths.text(str(tmp_path / "elsewhere.npz")) == "elsewhere.npz"
    assert paths.text(f"read {tmp_path}/elsewhere.npz, then stopped") == "read elsewhere.npz, then stopped"


def test_paths_with_blanks_and_files_that_are_gone_lose_their_folder(base: Path, tmp_path: Path) -> None:
    paths = PortablePaths(tmp_path / "other")
    (tmp_path / "other").mkdir()
    assert paths.text(f"no data in {base}/nets/a.py") == "no data in a.py"
    assert paths.text(f"no data in {base}/gone.py, and {tmp_path}/elsewhere.npz") == "no data in gone.py, and elsewhere.npz"
    assert paths.text(f"a {Path.home()} b") == "a ~ b" or len(Path.home().parts) <= 2


def test_library_folders_are_removed(base: Path) -> None:
    library = sysconfig.get_path("purelib")
    assert PortablePaths(base).text(f'File "{library}/torch/nn/linear.py", line 134') == 'File "torch/nn/linear.py", line 134'


@pytest.mark.parametrize(
    "text", ["/layer1/conv/Conv", "hf:org/model", "timm:resnet18", "a/b", "/", "x\x00/y", "/" + "a" * 5000, "https://example.com/a"]
)
def test_other_texts_stay(base: Path, text: str) -> None:
    assert PortablePaths(base).text(text) == text


def test_all_texts_of_plain_data_are_replaced(base: Path) -> None:
    value = {"a": [f"{base}/nets/a.py", 1, None], "b": {"/usr": True}}
    assert PortablePaths(base).value(value) == {"a": ["nets/a.py", 1, None], "b": {"/usr": True}}


def test_a_base_of_root_removes_nothing_but_existing_paths(tmp_path: Path) -> None:
    assert PortablePaths(Path("/")).text("/no/such/node and /x") == "/no/such/node and /x"


def test_a_long_list_of_names_stays(base: Path) -> None:
    text = ", ".join(f"/layer{number}/conv" for number in range(5000))
    assert PortablePaths(base).text(text) == text
