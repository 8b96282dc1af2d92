"""The request that `tfbundle bench` sends: a call from a bundle's golden data, resized to the requested number of rows."""

from __future__ import annotations

from bundler.bundle.files import own_file
from bundler.errors import UsageError, VerifyError
from bundler.validation.bundle import Bundle
from bundler.values import input_draws
from bundler.values.signature import Signature
from serving.client.prepared_request import PreparedRequest
from serving.errors import GoldenError
from serving.golden.data import Golden, GoldenCase
from serving.texts import shell_command


def bench_request(
    bundle: Bundle, model: str | None = None, *, version: int | None = None, signature: str = "serving_default", rows: int = 1
) -> PreparedRequest:
    """Return a request with `rows` rows. It includes PyTorch's answer if the golden data has a call of that size.

    Args:
        bundle: The bundle with the golden data.
        model: The model's name, or None for the bundle's only model.
        version: The version whose golden data is used, or None for the latest.
        signature: The signature to call.
        rows: The size of the batch dims. The calls of a signature without batch dims are sent unchanged.

    Raises:
        UsageError: The signature does not exist, or the bundle has several models and none is named.
        VerifyError: The bundle has no such model or version, or its golden data cannot be read.
    """
    names = bundle.models()
    if model is None and len(names) != 1:
        raise UsageError(
            f"The bundle has {len(names)} models.", fix=f"choose one with --model: {', '.join(names)}", code="TFB1006"
        )
    name = model or names[0]
    signatures = bundle.signatures(name, version)
    if signature not in signatures:
        raise UsageError(
            f"The model {name!r} has no signature {signature!r}.",
            fix=f"choose one of: {', '.join(signatures)}",
            code="TFB1006",
        )
    number = bundle.versions(name)[-1] if version is None else version
    _check_built(bundle, name, number)
    golden = _golden(bundle, name, number)
    cases = [case for case in golden.cases if case.signature == signature]
    spec = signatures[signature]
    case = next((case for case in cases if _has_rows(case, spec, rows)), None)
    if case is not None:
        return PreparedRequest(name, golden.inputs(case), signature, version, golden.outputs(case), golden.served_tolerance)
    if not cases:
        raise VerifyError(
            f"The golden data of {name!r} version {number} has no call of the signature {signature!r}.",
            fix="build the model again",
            code="TFB5104",
        )
    arrays = golden.inputs(cases[0])
    sizes = {dim: rows for dim in input_draws.dim_sizes(spec, arrays) if input_draws.is_batch(dim)}
    return PreparedRequest(name, input_draws.fit(spec, arrays, sizes), signature, version)


def _check_built(bundle: Bundle, model: str, version: int) -> None:
    if bundle.is_adopted(model, version):
        built = [str(each) for each in bundle.versions(model) if not bundle.is_adopted(model, each)]
        raise UsageError(
            f"Version {version} of {model!r} was adopted, so the bundle has no golden data to send to it.",
            fix=f"choose a version that tfbundle built with --version: {', '.join(built)}" if built else "use --replay FILE",
            code="TFB7201",
        )


def _golden(bundle: Bundle, model: str, version: int) -> Golden:
    path = own_file(bundle.path, bundle.layout.golden_file(model, version))
    try:
        return Golden.load(path)
    except GoldenError as exc:
        raise VerifyError(
            exc.what, fix=f"run `{shell_command('tfbundle', 'verify', bundle.path)}` for details", code="TFB5104"
        ) from exc


def _has_rows(case: GoldenCase, spec: Signature, rows: int) -> bool:
    sizes = input_draws.dim_sizes(spec, case.inputs)
    return all(size == rows for dim, size in sizes.items() if input_draws.is_batch(dim))
