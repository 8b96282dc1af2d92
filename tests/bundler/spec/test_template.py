"""The bundle.yaml that `tfbundle init` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bundler.errors import PublishError, SpecError, UsageError
from bundler.spec.bundle_spec import BundleSpec, parse_spec
from bundler.spec.template import SCHEMA_FILE, Answers, spec_text, write_spec


def parsed(text: str) -> BundleSpec:
    return parse_spec(YAML(typ="safe").load(text), where="the template")


def test_the_template_builds_the_defaults() -> None:
    spec = parsed(spec_text(Answers()))
    (model,) = spec.models
    assert (model.name, model.source) == ("model", "model.py:make_model")
    defaults = BundleSpec()
    assert (spec.serving, spec.kubernetes, spec.docker) == (defaults.serving, defaults.kubernetes, defaults.docker)
    assert spec.stated_serving == {"grpc_port", "rest_port", "batching", "monitoring"}


def test_the_answers_fill_the_template() -> None:
    answers = Answers("net", "my nets/a.py:make", ("x=float32[batch,3]", "n=int64[]"), ("int8", "float16"), "c d.npz")
    (model,) = parsed(spec_text(answers)).models
    assert (model.name, model.source, model.inputs) == (answers.name, answers.source, answers.inputs)
    assert (model.tflite.variants, model.tflite.calibration) == (answers.variants, answers.calibration)
    for word in ("true", "null", "1", "1e5", "a: b", "[x", "#x", "ä ö"):
        assert parsed(spec_text(Answers("net", word))).models[0].source == word


def test_every_key_that_is_commented_out_can_be_used() -> None:
    """Each example is valid; of those that exclude others, the others are used."""
    text = re.sub(r"^ *# +(existing|service_account): .*\n", "", spec_text(Answers()), flags=re.MULTILINE)
    keys = re.findall(r"^( *)# (  )?(\w+: \S.*?)(?: +# .*)?$", text, re.MULTILINE)
    assert len(keys) > 50
    lines = []
    for line in text.splitlines():
        match = re.match(r"^( *)# (( *)\w+:( .*)?)$", line)
        lines.append(f"{match[1]}{match[2]}" if match and "yaml-language-server" not in line else line)
    spec = parsed("\n".join(lines))
    assert spec.models[0].tflite.images is not None
    assert spec.models[0].opset == 20
    assert spec.serving.versions == {"digits": (1, 2)}
    assert spec.kubernetes.storage_uri == "s3://bucket/models"


def test_lines_are_short_and_descriptions_stand_in_one_column() -> None:
    text = spec_text(Answers())
    assert max(map(len, text.splitlines())) <= 120
    columns = {line.rindex(" # ") for line in text.splitlines() if line.startswith(" ") and line.rstrip()[-1:] == "."}
    assert len(columns) == 1


def test_a_wrong_answer_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match=r"tflite\.variants\.0: 'int2' is not one of"):
        spec_text(Answers(variants=("int2",)))


def test_files_are_not_overwritten_and_the_schema_is_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bundle.yaml"
    assert write_spec(file, Answers()) == [file, file.with_name(SCHEMA_FILE)]
    assert json.loads(file.with_name(SCHEMA_FILE).read_text()) == BundleSpec.json_schema()
    with pytest.raises(UsageError, match="already exists"):
        write_spec(file, Answers("other"))
    write_spec(file, Answers("other"), force=True)
    assert parsed(file.read_text()).models[0].name == "other"
    with pytest.raises(PublishError, match="cannot be written"):
        write_spec(file / "below.yaml", Answers())
