"""What `tfbundle bench` sends: a golden call of a bundle, brought to the number of rows asked for."""

from __future__ import annotations

from bundler.errors import UsageError
from bundler.validation.bundle import Bundle
from bundler.values import input_draws
from bundler.values.signature import Signature
from serving.client.prepared_request import PreparedRequest
from serving.golden.data import Golden, GoldenCase


def bench_request(
    bundle: Bundle, model: str | None = None, *, version: int | None = None, signature: str = "serving_default", rows: int = 1
) -> PreparedRequest:
    """A request with `rows` examples; with PyTorch's answer where the golden data have one of that size.

    Args:
        model: None: the bundle's only one.
        version: whose golden data are taken; None: the latest.
        rows: size of the batch dims; a signature that has none is sent as it is.

    Raises:
        UsageError: no such model, version or signature, or a bundle of several models and none named.
        VerifyError: the bundle has no such model or version.
    """
    names = bundle.models()
    if model is None and len(names) != 1:
        raise UsageError(f"The bundle has {len(names)} models.", fix=f"name one with --model: {', '.join(names)}")
    name = model or names[0]
    signatures = bundle.signatures(name, version)
    if signature not in signatures:
        raise UsageError(
            f"The model {name} has no signature {signature!r}.", fix=f"one of: {', '.join(signatures)}"
        )
    number = bundle.versions(name)[-1] if version is None else version
    golden = Golden.load(bundle.layout.golden_file(name, number))
    cases = [case for case in golden.cases if case.signature == signature]
    spec = signatures[signature]
    exact = [case for case in cases if _has_rows(case, spec, rows)]
    if exact:
        case = exact[0]
        return PreparedRequest(name, golden.inputs(case), signature, version, golden.outputs(case), golden.tolerance)
    arrays = golden.inputs(cases[0])
    sizes = {dim: rows for dim in input_draws.dim_sizes(spec, arrays) if input_draws.is_batch(dim)}
    return PreparedRequest(name, input_draws.fit(spec, arrays, sizes), signature, version)


def _has_rows(case: GoldenCase, spec: Signature, rows: int) -> bool:
    sizes = input_draws.dim_sizes(spec, case.inputs)
    return all(size == rows for dim, size in sizes.items() if input_draws.is_batch(dim))
