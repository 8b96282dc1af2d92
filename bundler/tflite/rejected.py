"""Requested variants that are not published: the reason, the measurements, and advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bundler.errors import GateError, TfbundleError, TfliteError, VariantsError
from bundler.tflite.layers import listed

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteVariant
    from bundler.tflite.layers import Layer
    from bundler.tflite.mix import Loss
    from bundler.tflite.result import VariantResult

NAMED = 5
"""The number of layers that a message names; bundle.json has all."""


@dataclass(frozen=True)
class RejectedVariant:
    """A variant that could not be made or is below its gate.

    Attributes:
        variant: the variant's name.
        error: the reason.
        figures: the measurements made before the variant was rejected, with the keys of `VariantResult.to_json`.
        losses: for int8: the loss of every layer, the largest first.
        mix: for int8: the layers that must stay float to pass the gate; None if no set of layers passes.
        searched: whether the build searched for a mix.
        mixed: whether the build also makes the mix variant.
    """

    variant: TfliteVariant
    error: TfbundleError
    figures: Mapping[str, Any] = field(default_factory=dict)
    losses: Sequence[Loss] = ()
    mix: Sequence[Layer] | None = None
    searched: bool = True
    mixed: bool = False

    @property
    def below_gate(self) -> bool:
        """Whether the file was made but is not accurate enough."""
        return isinstance(self.error, GateError)

    def to_json(self) -> dict[str, Any]:
        """Return the record for `tflite_refused` in bundle.json."""
        return {
            "reason": self.error.what,
            "below_gate": self.below_gate,
            **({"where": self.error.where} if self.error.where else {}),
            **({"to_do": self.error.fix} if self.error.fix else {}),
            **self.figures,
            **({"layers": [loss.to_json() for loss in self.losses]} if self.losses else {}),
            **({"mix": [str(layer) for layer in self.mix]} if self.mix is not None else {}),
        }

    def explain(self) -> str:
        """Return the reason and its location."""
        return self.error.what + (f"\n  where: {self.error.where}" if self.error.where else "")

    def explain_layers(self) -> str:
        """Return the layers that lose most and the mix that passes; empty if the layers were not measured."""
        if not self.losses:
            return ""
        lines = ["  layers with the largest loss, each measured as the only int8 layer (SQNR of the outputs):"]
        lines += [f"    {loss.sqnr_db:6.1f} dB  {loss.layer}" for loss in self.losses[:NAMED]]
        if not self.searched:
            lines.append("  no mix was searched for, because each run of the evaluate function takes several seconds")
        elif self.mix is None:
            lines.append("  no set of float layers passes the gate")
        else:
            lines.append(f"  a mix passes with these layers in float: {listed(self.mix)}")
        return "\n".join(lines)

    @property
    def advice(self) -> str | None:
        """What the user can do about it."""
        if self.losses and not self.searched:
            return "add --auto-mix to search for the mix with the fewest float layers"
        if self.mix is not None:
            if self.mixed:
                return "use this build's mix file, which has these layers in float; to build it alone, use --tflite mix"
            return "add --auto-mix to make that mix"
        return self.error.fix


def gate_error(variant: TfliteVariant, complaint: str) -> GateError:
    """Return the error for a file that is below its gate, for the reason `complaint`."""
    return GateError(f"The {variant} TFLite file is below its gate: {complaint}.")


@dataclass(frozen=True)
class Outcome:
    """The published and the rejected variants of a model.

    Attributes:
        variants: those that were made and pass their gate.
        rejected: the others.
    """

    variants: tuple[VariantResult, ...] = ()
    rejected: tuple[RejectedVariant, ...] = ()

    @classmethod
    def of(cls, results: Sequence[VariantResult | RejectedVariant]) -> Outcome:
        """Sort results into variants and rejected variants."""
        rejected = tuple(result for result in results if isinstance(result, RejectedVariant))
        return cls(tuple(result for result in results if not isinstance(result, RejectedVariant)), rejected)

    def joined_error(self) -> TfbundleError:
        """Return one error for all rejected variants. Its cause is TensorFlow's report on the first."""
        first = self.rejected[0].error
        shared = len({id(rejected.error) for rejected in self.rejected}) == 1 and not self.rejected[0].losses
        if shared and (not self.variants or not isinstance(first, TfliteError)):
            return first
        count = "1 TFLite variant" if len(self.rejected) == 1 else f"{len(self.rejected)} TFLite variants"
        made = f" (made: {', '.join(result.variant for result in self.variants)})" if self.variants else ""
        kind = GateError if any(rejected.below_gate for rejected in self.rejected) else TfliteError
        error = kind(f"{count} failed{made}.\n{joined_reasons(self.rejected)}", fix=joined_advice(self.rejected))
        error.__cause__ = first.__cause__
        return error


def joined_reasons(rejected: Sequence[RejectedVariant]) -> str:
    """Return every distinct reason, followed by what is known of the layers."""
    reasons = [variant.explain() for variant in rejected] + [variant.explain_layers() for variant in rejected]
    return "\n".join(dict.fromkeys(filter(None, reasons)))


def joined_advice(rejected: Sequence[RejectedVariant]) -> str | None:
    """Return every distinct piece of advice, or None if there is none."""
    parts = [part for variant in rejected if variant.advice for part in variant.advice.split("; ")]
    return "; ".join(dict.fromkeys(parts)) or None


def variants_error(rejected: Mapping[str, Sequence[RejectedVariant]], bundle: object) -> VariantsError:
    """Return the error for a bundle that was published without some of its variants.

    Args:
        rejected: the missing variants, by model.
        bundle: the published bundle, which the error carries.
    """
    flat = [variant for of_model in rejected.values() for variant in of_model]
    parts = [
        f"{name}: {', '.join(variant.variant for variant in of_model)}" for name, of_model in rejected.items() if of_model
    ]
    error = VariantsError(
        f"Published without these TFLite variants: {'; '.join(parts)}.\n{joined_reasons(flat)}",
        below_gate=any(variant.below_gate for variant in flat),
        fix=joined_advice(flat),
    )
    error.bundle = bundle
    error.__cause__ = flat[0].error.__cause__
    return error
