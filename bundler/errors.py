"""Errors of the build side.

Every error says what happened, where, and what to do; the command line prints exactly that and exits with `exit_code`. Its `code`
is explained in `serving.errors`.

    TfbundleError                   1   a `serving.errors.ExplainedError`
    ├── UsageError                  2   a flag, a name or a file given by the user is wrong
    │   └── SpecError               2   bundle.yaml does not follow its schema
    ├── MissingExtraError           2   an optional dependency is not installed
    ├── SetupError                  1   tfbundle setup could not install a package
    ├── SourceError                 1   the model could not be loaded
    ├── ExportError                 1   torch could not turn the model into ONNX
    ├── ConversionError             1   ONNX could not be turned into TensorFlow
    │   └── UnsupportedOpsError     1   … because some operators have no handler (the message lists all of them)
    ├── TfliteError                 1   a TFLite variant could not be built
    │   └── GateError               3   … or is less accurate than its gate requires
    ├── VariantsError             1, 3  the bundle was published without some of its TFLite variants
    ├── ModelsError               1, 3  some of many models could not be built; the bundle has the others
    ├── ParityError                 3   an artifact's answers differ from PyTorch's
    ├── ComparisonError             3   a new version is worse than the one in service
    ├── PublishError                1   the bundle's folder could not be written
    ├── DeliveryError               1   a registry or store refused, failed, or sent something else than asked for
    └── VerifyError                 1   a bundle is damaged or incomplete
        └── UnsafeModelError        1   … or its model does more than compute, and that was not allowed
"""

from __future__ import annotations

import serving.errors
from serving.errors import ExplainedError


class TfbundleError(ExplainedError):
    """Base of all errors of the build side."""


class UsageError(TfbundleError):
    """What the user gives is wrong: a flag, a keyword, a name, a path or an environment variable, or two that contradict."""

    exit_code = 2


class SpecError(UsageError):
    """A bundle.yaml or an option does not follow the schema, or settings name a model, version or label that does not exist."""


class MissingExtraError(TfbundleError, serving.errors.MissingExtraError):
    """An optional dependency is not installed; the message names the extra that installs it."""

    code = "TFB8001"


class SetupError(TfbundleError):
    """A package could not be installed into its own folder."""


class SourceError(TfbundleError):
    """A model could not be loaded, or a file of the user's that belongs to it: weights, handlers, calibration data, a metric."""


class ExportError(TfbundleError):
    """A PyTorch model could not be exported to ONNX."""


class ConversionError(TfbundleError):
    """An ONNX model could not be read or converted to TensorFlow, or a SavedModel could not be read."""


class UnsupportedOpsError(ConversionError):
    """An ONNX model has operators without a handler."""

    code = "TFB3001"


class TfliteError(TfbundleError):
    """A TFLite variant could not be built."""


class GateError(TfliteError):
    """A TFLite variant is less accurate than its gate requires."""

    code = "TFB4301"
    exit_code = 3


class VariantsError(TfbundleError):
    """A bundle was published without some of the TFLite variants that were requested, or in float32 instead of bfloat16.

    Attributes:
        bundle: the published `Bundle`.
        exit_code: 3 if a variant is below its gate, else 1.
    """

    code = "TFB4302"

    def __init__(self, what: str, *, below_gate: bool, fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.exit_code = GateError.exit_code if below_gate else TfliteError.exit_code
        self.bundle: object = None


class ModelsError(TfbundleError):
    """Some of many models could not be built; the bundle was published with the others, if there are any.

    Attributes:
        bundle: the published `Bundle`; None if no model could be built.
        outcomes: the outcome of every model (`bundler.many.engine.Outcome`).
        exit_code: that of the failures if they all have the same, else 1.
    """

    code = "TFB5205"

    def __init__(self, what: str, *, exit_code: int, fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.exit_code = exit_code
        self.bundle: object = None
        self.outcomes: tuple[object, ...] = ()


class ParityError(TfbundleError):
    """An artifact's answers differ from PyTorch's by more than the tolerance."""

    code = "TFB3401"
    exit_code = 3


class ComparisonError(TfbundleError):
    """A new version is worse than the one in service, by the bounds of the section `against`, or was not compared with it.

    Attributes:
        records: the comparisons of a build that was refused, by model, in the form of bundle.json.
        report: its report, as HTML; empty if there is none.
    """

    code = "TFB9301"
    exit_code = 3

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, code: str | None = None) -> None:
        super().__init__(what, where=where, fix=fix, code=code)
        self.records: dict[str, dict[str, object]] = {}
        self.report = ""


class PublishError(TfbundleError):
    """A bundle's folder or another file could not be written, another build holds it, or it has the version already."""


class DeliveryError(TfbundleError):
    """A registry or store cannot be reached, refuses, fails, or sends something else than what was asked for."""


class VerifyError(TfbundleError):
    """A bundle or a model file is damaged or incomplete, or is none, or has no such model or version."""


class UnsafeModelError(VerifyError):
    """A model has operators that reach out of the graph, to files or the network for example, and that was not allowed."""

    code = "TFB5105"
