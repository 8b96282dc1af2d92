"""Errors of both packages: one base, one printed form, exit codes, and a cheap import."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import bundler.errors
import serving.errors
from serving.errors import DeadlineError, ExplainedError, NotReadyError, RequestError, TargetError

EXIT_CODES = {
    "ConfigError": 2, "ConnectionFailedError": 1, "DeadlineError": 1, "ExplainedError": 1, "GoldenError": 1,
    "LaunchError": 1, "NotReadyError": 1, "ProtocolError": 1, "RequestError": 1, "ServingError": 1, "TargetError": 2,
    "TensorError": 1, "TlsError": 1,
    "ComparisonError": 3, "ConversionError": 1, "DeliveryError": 1,
    "ExportError": 1, "GateError": 3, "MissingExtraError": 2, "ModelsError": 1, "ParityError": 3, "PublishError": 1,
    "SetupError": 1,
    "SourceError": 1, "SpecError": 2, "TfbundleError": 1, "TfliteError": 1, "UnsafeModelError": 1,
    "UnsupportedOpsError": 1, "UsageError": 2,
    "VariantsError": 1, "VerifyError": 1,
}  # fmt: skip


def classes() -> dict[str, type[ExplainedError]]:
    members = {**vars(serving.errors), **vars(bundler.errors)}
    return {name: member for name, member in members.items() if inspect.isclass(member)}


def test_exit_codes() -> None:
    assert {name: error.exit_code for name, error in classes().items()} == EXIT_CODES


def test_every_error_is_explained_and_documented() -> None:
    for error in classes().values():
        assert issubclass(error, ExplainedError)
        assert "__doc__" in vars(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ExplainedError("It broke."), "It broke."),
        (TargetError("It broke.", where="--port"), "It broke.\n  where: --port"),
        (NotReadyError("It broke.", where="m", fix="read it"), "It broke.\n  where: m\n  to do: read it"),
    ],
)
def test_the_text_has_what_where_and_what_to_do(error: ExplainedError, text: str) -> None:
    assert str(error) == text
    assert error.args == ("It broke.",)


def test_a_request_error_has_its_status() -> None:
    error = RequestError("refused", status="NOT_FOUND", http_status=404)
    assert (error.status, error.http_status, error.where) == ("NOT_FOUND", 404, None)


def test_a_model_that_is_not_ready_is_a_missed_deadline() -> None:
    assert issubclass(NotReadyError, DeadlineError)


def test_importing_the_errors_is_cheap() -> None:
    code = (
        "import sys, serving.errors; light = set(sys.modules);"
        "assert not {'numpy', 'grpc', 'google.protobuf', 'tensorflow', 'torch', 'bundler'} & light, sorted(light)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
