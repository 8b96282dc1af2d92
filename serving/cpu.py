"""The instructions of this machine's CPU that compute in bfloat16."""

from __future__ import annotations

import functools
import re
from pathlib import Path

_INSTRUCTIONS = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX", "bf16": "Arm BF16"}
"""Flags of /proc/cpuinfo -> the names that people know them by. AMX computes 2-D tiles, AVX-512 BF16 and Arm's vectors."""

GAINING = "AVX-512 BF16 (Intel Cooper Lake and Sapphire Rapids, AMD Zen 4, and later) or AMX (Sapphire Rapids and later)"
"""The x86 CPUs that compute products faster in bfloat16."""

WITHOUT = (
    "other CPUs with AVX-512 emulate it and take 2 to 3 times as long as in float32; those without AVX-512 convert to float32 "
    "and back, which takes 1.0 to 1.6 times as long"
)
"""Measured for U-Net, ConvNeXt and BERT with TensorFlow 2.21: oneDNN limited to AVX-512 without BF16, and no oneDNN."""


@functools.cache
def bfloat16_instructions(cpuinfo: str = "/proc/cpuinfo") -> tuple[str, ...]:
    """Return the names of the CPU's instructions for bfloat16; empty if it has none, or the system does not list them."""
    try:
        text = Path(cpuinfo).read_text("utf-8", "replace")
    except OSError:
        return ()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    flags = found[1].split() if found else []
    return tuple(name for flag, name in _INSTRUCTIONS.items() if flag in flags)


def bfloat16_note() -> str:
    """Return a sentence that says whether this CPU gains from bfloat16, and which CPUs do."""
    own = bfloat16_instructions()
    if own:
        return f"This CPU computes in bfloat16 ({', '.join(own)}); {WITHOUT}."
    return f"This CPU has no instructions for bfloat16. CPUs that gain have {GAINING}; {WITHOUT}."
