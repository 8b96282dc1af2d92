"""The table of extras says what pyproject.toml does, and a missing package gives one sentence with pip's command."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from serving import extras
from serving.errors import MissingExtraError, ServingError
from tests.hidden import extras_modules, run_without

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


def name_of(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return match.group()


NOT_A_PART = {"dev", "docs"}
"""Extras for the development of tfbundle, which no feature asks for."""


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"].keys() - NOT_A_PART))
def test_table_of_extras_is_that_of_pyproject(extra: str) -> None:
    requirements = PROJECT["optional-dependencies"][extra]
    included = [re.findall(r"\[(.*)\]", each)[0] for each in requirements if each.startswith("tfbundle[")]
    assert included == list(extras.INCLUDED[extra])
    assert {name_of(each) for each in requirements if not each.startswith("tfbundle[")} == set(extras.PACKAGES[extra])


def test_dev_includes_every_extra_that_a_test_can_use() -> None:
    """Google's client libraries are large, and there is no server here that they would speak to."""
    own = PROJECT["optional-dependencies"]["dev"][0]
    listed = set(re.findall(r"\[(.*)\]", own)[0].split(","))
    assert listed - NOT_A_PART | {"serve", "onnx", "remote"} == set(extras.PACKAGES) - {"gcs"}


def test_plain_package_requires_neither_torch_nor_tensorflow_nor_onnx() -> None:
    assert not {name_of(each) for each in PROJECT["dependencies"]} & {"torch", "tensorflow", "onnx", "onnxruntime"}


def test_missing_packages_are_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "matplotlib")
    with pytest.raises(MissingExtraError) as one:
        extras.require("plots", "A plot")
    assert str(one.value) == (
        "A plot needs the package 'matplotlib', which is not installed.\n  to do: pip install 'tfbundle[plots]'"
    )
    assert isinstance(one.value, ServingError) and one.value.exit_code == 2
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"the packages 'networkx', 'onnx', 'onnx-ir' and 7 more, which are not"):
        extras.require("onnx", "It")


def test_nothing_is_raised_if_all_packages_are_installed() -> None:
    extras.require("build", "It")
    assert extras.missing("serve") == []


def test_leftover_folder_and_blocked_module_do_not_count_as_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left_behind" / "lib").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "blocked", None)
    monkeypatch.setitem(sys.modules, "loaded", ModuleType("loaded"))
    names = ("left_behind", "blocked", "absent", "loaded", "numpy")
    assert [extras.is_installed(name) for name in names] == [False, False, False, True, True]


def test_owner_of_a_missing_module_is_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.owner("torch.nn") is None  # it is installed
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    assert extras.owner("grpc_health.v1") == ("serve", "grpcio-health-checking")
    assert extras.owner("onnx_ir") == ("onnx", "onnx-ir")
    assert extras.owner("no_such_module") is None


def test_client_and_its_errors_need_no_extra_and_the_server_names_its_own() -> None:
    code = """
import json, serving
from serving import Client, Golden, SmokeReport
try:
    serving.Server("x")
except serving.errors.MissingExtraError as exc:
    print(json.dumps([str(exc), exc.exit_code, [name for name in HIDDEN if name in sys.modules]]))
"""
    text, exit_code, imported = run_without(extras_modules("build", "images", "plots"), code)
    assert text.startswith("The embedded server needs the packages 'tensorflow', 'ai-edge-litert', 'aiohttp' and 3 more")
    assert text.endswith("to do: pip install 'tfbundle[serve]'")
    assert (exit_code, imported) == (2, [])
