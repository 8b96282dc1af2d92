"""Errors survive their way through JSON."""

from __future__ import annotations

import json

import pytest

from bundler.errors import GateError, ParityError, TfbundleError, UnsupportedOpsError, VariantsError
from bundler.many import failures


@pytest.mark.parametrize("kind", [TfbundleError, ParityError, GateError, UnsupportedOpsError])
def test_errors_keep_their_class_and_texts(kind: type[TfbundleError]) -> None:
    error = kind("What.", where="there", fix="do it", code="TFB3404")
    copy = failures.from_json(json.loads(json.dumps(failures.to_json(error))))
    assert type(copy) is kind and str(copy) == str(error)
    assert (copy.code, copy.exit_code) == ("TFB3404", kind.exit_code)


def test_an_error_with_an_own_form_becomes_a_plain_one_with_its_exit_code() -> None:
    copy = failures.from_json(failures.to_json(VariantsError("int8 is missing.", below_gate=True)))
    assert type(copy) is TfbundleError and (copy.exit_code, copy.code) == (3, "TFB4302")


def test_other_exceptions_name_their_type() -> None:
    copy = failures.from_json(failures.to_json(RuntimeError("boom\nand more")))
    assert (copy.what, copy.code, copy.exit_code) == ("Unexpected RuntimeError: boom", "TFB8901", 1)
    assert failures.from_json(failures.to_json(MemoryError())).what == "Unexpected MemoryError"


def test_unknown_and_harmful_names_of_classes_become_plain_errors() -> None:
    for name in ("NoSuchError", "annotations", "serving", "ExplainedError", "__builtins__"):
        copy = failures.from_json({**failures.to_json(TfbundleError("x")), "class": name})
        assert type(copy) is TfbundleError
