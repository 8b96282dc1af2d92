"""The type of an array whose dtype and shape are known only at run time."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
