"""How many rows two versions of a model answer alike.

A row of an output is alike if one of these holds:

1. Its largest entry is at the same place on the last axis (the same class), for floats with at least two entries there. A row
   with several such places, as in a segmentation, counts by the share of them that agree.
2. All its values are within the tolerance, by the rule of `serving.golden.compare`.
3. It is equal, for integers, booleans and strings.

A row that is finite in one answer only is never alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bundler.values.arrays import Array
from serving.golden.compare import compare


def row_agreement(want: Array, got: Array, tolerance: float) -> Array:
    """Return the share of each row that is alike, float64 [rows]; a scalar is one row.

    Args:
        want: an output of one version, with rows on the first axis.
        got: the same output of the other version.
        tolerance: the largest relative difference of values that are alike.
    """
    want, got = np.atleast_1d(want), np.atleast_1d(got)
    if want.shape != got.shape or want.dtype.kind != got.dtype.kind:
        return np.zeros(want.shape[0])
    rows = (slice(index, index + 1) for index in range(len(want)))
    within = np.array([compare("", want[row], got[row]).within(tolerance) for row in rows], np.float64)
    if want.dtype.kind != "f" or want.ndim < 2 or want.shape[-1] < 2:
        return within
    finite = np.isfinite(want).all(axis=-1) & np.isfinite(got).all(axis=-1)
    same = (np.nan_to_num(want).argmax(-1) == np.nan_to_num(got).argmax(-1)) & finite
    shares: Array = np.maximum(within, same.reshape(len(same), -1).mean(axis=1))
    return shares


@dataclass
class Tally:
    """The share of alike rows of each output, over all calls.

    Attributes:
        tolerance: see `row_agreement`.
        alike: number of alike rows by output.
        rows: number of rows by output.
        failure: why the first call that only one version answers failed; empty if there is none.
    """

    tolerance: float
    alike: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    failure: str = ""

    def add(self, want: Mapping[str, Array], got: Mapping[str, Array], *, prefix: str = "") -> None:
        """Count the rows of a call; an output that `got` lacks is alike in no row."""
        for name, array in want.items():
            empty = np.zeros(len(np.atleast_1d(array)))
            shares = row_agreement(array, got[name], self.tolerance) if name in got else empty
            key = prefix + name
            self.alike[key] = self.alike.get(key, 0.0) + float(shares.sum())
            self.rows[key] = self.rows.get(key, 0) + len(shares)

    @property
    def shares(self) -> dict[str, float]:
        """The share of alike rows by output; outputs without any row are left out."""
        return {name: self.alike[name] / count for name, count in self.rows.items() if count}

    @property
    def most_rows(self) -> int:
        """The number of rows that were compared."""
        return max(self.rows.values(), default=0)
