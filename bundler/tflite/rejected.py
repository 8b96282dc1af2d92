"""Variants that were asked for and are not there: why, with what figures, and what would help."""

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
"""So many of the layers that lose most stand in the message; bundle.json has all."""


@dataclass(frozen=True)
class RejectedVariant:
    """A variant that could not be made, or is below its gate.

    Attributes:
        figures: what was measured before it was refused, as in `VariantResult.to_json`.
        losses: of int8: every layer, those that lose most first.
        mix: of int8: the layers that have to stay float for the gate to pass; None: no set of layers helps.
        searched: whether a mix was looked for.
        mixed: whether the build was asked for the mix too.
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
        return isinstance(self.error, GateError)

    def to_json(self) -> dict[str, Any]:
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
        """What happened, and where."""
        return self.error.what + (f"\n  where: {self.error.where}" if self.error.where else "")

    def explain_layers(self) -> str:
        """Which layers are at fault, and what would help; empty where nothing is known of them."""
        if not self.losses:
            return ""
        lines = ["  layers that lose most when they alone are int8 (SQNR of the outputs):"]
        lines += [f"    {loss.sqnr_db:6.1f} dB  {loss.layer}" for loss in self.losses[:NAMED]]
        if not self.searched:
            lines.append("  a mix was not looked for: each question to the evaluate function takes seconds")
        elif self.mix is None:
            lines.append("  no set of float layers passes the gate")
        else:
            lines.append(f"  a mix passes with these layers float: {listed(self.mix)}")
        return "\n".join(lines)

    @property
    def advice(self) -> str | None:
        if self.losses and not self.searched:
            return "--auto-mix looks for the mix with the fewest float layers"
        if self.mix is not None:
            if self.mixed:
                return "the mix file of this build has them in float; where it may stand for int8, ask for it alone: --tflite mix"
            return "--auto-mix makes that mix"
        return self.error.fix


def below_gate(variant: TfliteVariant, complaint: str) -> GateError:
    return GateError(f"The {variant} TFLite file is below its gate: {complaint}.")


@dataclass(frozen=True)
class Outcome:
    """What became of the variants that were asked for."""

    made: tuple[VariantResult, ...] = ()
    refused: tuple[RejectedVariant, ...] = ()

    @classmethod
    def of(cls, results: Sequence[VariantResult | RejectedVariant]) -> Outcome:
        refused = tuple(result for result in results if isinstance(result, RejectedVariant))
        return cls(tuple(result for result in results if not isinstance(result, RejectedVariant)), refused)

    def joined_error(self) -> TfbundleError:
        """One error for all that were refused; the cause is TensorFlow's report on the first."""
        first = self.refused[0].error
        alone = len({id(one.error) for one in self.refused}) == 1 and not self.refused[0].losses
        if alone and (not self.made or not isinstance(first, TfliteError)):
            return first
        made = f" (made: {', '.join(one.variant for one in self.made)})" if self.made else ""
        kind = GateError if any(one.below_gate for one in self.refused) else TfliteError
        joined = kind(
            f"{len(self.refused)} TFLite variant(s) failed{made}.\n{explained(self.refused)}", fix=advised(self.refused)
        )
        joined.__cause__ = first.__cause__
        return joined


def explained(refused: Sequence[RejectedVariant]) -> str:
    """Every reason once, then what is known of the layers."""
    said = [one.explain() for one in refused] + [one.explain_layers() for one in refused]
    return "\n".join(dict.fromkeys(filter(None, said)))


def advised(refused: Sequence[RejectedVariant]) -> str | None:
    parts = [part for one in refused if one.advice for part in one.advice.split("; ")]
    return "; ".join(dict.fromkeys(parts)) or None


def variants_error(refused: Mapping[str, Sequence[RejectedVariant]], bundle: object) -> VariantsError:
    """For a published bundle: what it lacks, by model, and why."""
    every = [one for of_model in refused.values() for one in of_model]
    parts = [f"{name}: {', '.join(one.variant for one in of_model)}" for name, of_model in refused.items() if of_model]
    error = VariantsError(
        f"Published, but without these TFLite variants: {'; '.join(parts)}.\n{explained(every)}",
        below_gate=any(one.below_gate for one in every),
        fix=advised(every),
    )
    error.bundle = bundle
    error.__cause__ = every[0].error.__cause__
    return error
