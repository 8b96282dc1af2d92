"""Errors of the build side.

Every error says what happened, where, and what to do; the command line prints exactly that and exits with `exit_code`.

    TfbundleError                   1
    ├── UsageError                  2   a flag, a name or a file given by the user is wrong
    │   └── SpecError               2   bundle.yaml does not follow its schema
    ├── MissingExtraError           1   an optional dependency is not installed
    ├── SourceError                 1   the model could not be loaded
    ├── ExportError                 1   torch could not turn the model into ONNX
    ├── ConversionError             1   ONNX could not be turned into TensorFlow
    │   └── UnsupportedOpsError     1   … because of operators without a handler (names all of them)
    ├── TfliteError                 1   a TFLite variant could not be made
    │   └── GateError               3   … or is less accurate than it has to be
    ├── VariantsError             1, 3  the bundle was published without some of its TFLite variants
    ├── ParityError                 3   an artifact does not answer what PyTorch answers
    ├── PublishError                1   the bundle's folder could not be written
    └── VerifyError                 1   a bundle is damaged or incomplete
"""

from __future__ import annotations


class TfbundleError(Exception):
    """Base of all errors a user can cause.

    Args:
        what: what happened, one sentence with the offending value in it.
        where: the file, node, flag or line of the user's model it happened at.
        fix: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)


class UsageError(TfbundleError):
    exit_code = 2


class SpecError(UsageError):
    pass


class MissingExtraError(TfbundleError):
    """An optional dependency is missing; the message names the extra that brings it.

    `command` stands in the message instead where an extra cannot bring it: its own requirements would do harm.
    """

    def __init__(self, package: str, extra: str, *, purpose: str, command: str | None = None) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed.",
            fix=command or f"pip install 'tfbundle[{extra}]'",
        )
        self.package = package
        self.extra = extra


class SourceError(TfbundleError):
    pass


class ExportError(TfbundleError):
    pass


class ConversionError(TfbundleError):
    pass


class UnsupportedOpsError(ConversionError):
    pass


class TfliteError(TfbundleError):
    pass


class GateError(TfliteError):
    exit_code = 3


class VariantsError(TfbundleError):
    """The bundle was published, but without some of the TFLite variants that were asked for.

    Attributes:
        bundle: the `Bundle` as it stands now.
        exit_code: 3 when a variant is below its gate, else 1.
    """

    def __init__(self, what: str, *, below_gate: bool, fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.exit_code = GateError.exit_code if below_gate else TfliteError.exit_code
        self.bundle: object = None


class ParityError(TfbundleError):
    exit_code = 3


class PublishError(TfbundleError):
    pass


class VerifyError(TfbundleError):
    pass


def first_message_line(exc: BaseException) -> str:
    """Return the first line of an exception's message without its full stop, or its type's name if there is no message."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return (lines[0] if lines else type(exc).__name__).rstrip(".")
