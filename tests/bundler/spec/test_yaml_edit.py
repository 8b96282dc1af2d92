"""Changes in the text of a bundle.yaml: the value changes, and nothing else does."""

from __future__ import annotations

import difflib
import random

import pytest
from ruamel.yaml import YAML

from bundler.errors import SpecError
from bundler.spec.template import Answers, spec_text
from bundler.spec.yaml_edit import edit_yaml

CHANGES: dict[tuple[str, ...], bool | int | None] = {
    ("serving", "batching"): True,
    ("serving", "max_batch_size"): 64,
    ("serving", "flags", "intra"): None,
    ("serving", "flags", "grpc"): 8,
}
EDITS = {
    "no section": ("models: []", "models: []\n\nserving:\n  batching: true\n  max_batch_size: 64\n  flags:\n    grpc: 8"),
    "new keys above the blank line": (
        "serving:\n  batching: no # on\n  # later\n\n# Pods\nkubernetes:\n",
        "serving:\n  batching: true # on\n  max_batch_size: 64\n  flags:\n    grpc: 8\n  # later\n\n# Pods\nkubernetes:\n",
    ),
    "examples in comments": (
        "serving:\n  port: 1\n  # max_batch_size: 3    # rows\n  # batching: see below\n  # flags: {intra: 2}\nx: 1\n",
        "serving:\n  port: 1\n  batching: true\n  max_batch_size: 64     # rows\n  # batching: see below\n"
        "  flags: {grpc: 8}\nx: 1\n",
    ),
    "flags in a block": (
        "serving:\n    flags:\n        'intra': 2  # a\n                    # b\n        x: \"x\"\n    batching: true\n",
        "serving:\n    flags:\n        x: \"x\"\n        grpc: 8\n    batching: true\n    max_batch_size: 64\n",
    ),
    "flags in braces": (
        "serving: {flags: { a: 1, intra: 2 },\n  batching: false}  # keep\n",
        "serving: {flags: { a: 1, grpc: 8 },\n  batching: true, max_batch_size: 64}  # keep\n",
    ),
    "an empty document in braces": ("{}\n", "{serving: {batching: true, max_batch_size: 64, flags: {grpc: 8}}}\n"),
    "Windows line ends": (
        "serving:\r\n  batching: true\r\nx: 1\r\n",
        "serving:\r\n  batching: true\r\n  max_batch_size: 64\r\n  flags:\r\n    grpc: 8\r\nx: 1\r\n",
    ),
    "a text in the section": (
        "serving:\n  batching: true\n  path: |\n    # max_batch_size: 3\n...\n",
        "serving:\n  batching: true\n  max_batch_size: 64\n  flags:\n    grpc: 8\n  path: |\n    # max_batch_size: 3\n...\n",
    ),
    "a quoted number": (
        "serving: {batching: true, max_batch_size: '64', flags: {grpc: 8}}",
        "serving: {batching: true, max_batch_size: 64, flags: {grpc: 8}}",
    ),
}


@pytest.mark.parametrize(("text", "edited"), EDITS.values(), ids=EDITS)
def test_only_the_named_values_change(text: str, edited: str) -> None:
    assert edit_yaml(text, CHANGES, where="bundle.yaml") == edited
    assert edit_yaml(edited, CHANGES, where="bundle.yaml") == edited


def test_the_commented_keys_of_init_are_set_in_their_place() -> None:
    text = spec_text(Answers())
    edited = edit_yaml(text, {("serving", "batching"): True, ("serving", "max_batch_size"): 16}, where="bundle.yaml")
    changed = [line for line in difflib.ndiff(text.splitlines(), edited.splitlines()) if line.startswith("+")]
    assert [line.split("#")[0].rstrip() for line in changed] == ["+   batching: true", "+   max_batch_size: 16"]
    assert {line.index("#") for line in changed} == {2 + text.splitlines()[-1].index(" # ") + 1}


@pytest.mark.parametrize("flags", ["\n    a: 1 # one\n    b: 2\n", " {a: 1, b: 2}\n", " {b: 2,\n   a: 1}\n"])
def test_a_mapping_that_becomes_empty_is_removed(flags: str) -> None:
    removals: dict[tuple[str, ...], bool | int | None] = {("serving", "flags", name): None for name in "bac"}
    assert edit_yaml(f"serving:\n  x: 1\n  flags:{flags}y: 2\n", removals, where="f") == "serving:\n  x: 1\ny: 2\n"


@pytest.mark.parametrize(
    "text",
    [
        "x: &a {batching: false}\nserving: *a\n",
        "x: &a 1\nserving:\n  max_batch_size: *a\n",
        "x: &a {intra: 1}\nserving:\n  flags:\n    <<: *a\n",
    ],
)
def test_a_value_that_stands_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="serving cannot be changed in place") as caught:
        edit_yaml(text, CHANGES, where="bundle.yaml")
    assert caught.value.where == "bundle.yaml" and "without anchors" in str(caught.value.fix)


def _random_section(rng: random.Random) -> str:
    """Return a section `serving` in some of the styles that YAML has."""
    known = ["batching: false", "max_batch_size: 0x20", "rest_port: 1", "path: 'a # b'", "versions: [1,\n      2]"]
    keys = rng.sample(known, 3)
    flags = rng.sample(["intra: 2", "grpc: 3", "other: \"é\U0001f600\""], rng.randint(1, 3))
    pad = " " * rng.randint(1, 4)
    block = f"\n{pad * 2}" + f"   # c\n{pad * 3}# d\n\n{pad * 2}".join(flags)
    keys.append("flags:" + rng.choice([block, f" {{{', '.join(flags)}}}", f" {{\n{pad * 2}{', '.join(flags)} }}"]))
    rng.shuffle(keys)
    lines = "".join(f"\n{pad}{key}{rng.choice(['', ' # c', f'  # c{chr(10)}{pad}# max_batch_size: 7 # c'])}" for key in keys)
    return f"serving:{rng.choice(['', ' # c'])}{lines}"


@pytest.mark.parametrize("seed", range(40))
def test_any_style_gets_the_new_values_and_keeps_its_comments(seed: int) -> None:
    rng = random.Random(seed)
    text = "\n\n".join(rng.sample(["models:\n- {name: a}", _random_section(rng), "# h\ndocker: {tag: \"1\"}"], 3))
    before = YAML(typ="safe").load(text)
    edited = edit_yaml(text, CHANGES, where="f")
    data = YAML(typ="safe").load(edited)
    section = data.pop("serving")
    assert (section["batching"], section["max_batch_size"], section["flags"]["grpc"]) == (True, 64, 8)
    assert "intra" not in section["flags"] and section["flags"].get("other") == before["serving"]["flags"].get("other")
    assert data == {key: value for key, value in before.items() if key != "serving"}
    assert [line for line in edited.splitlines() if line.startswith("# h")] == ["# h"]
