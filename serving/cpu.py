"""The instructions of this machine's CPU that compute in bfloat16 and int8."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

_INSTRUCTIONS = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX", "bf16": "Arm BF16"}
"""Flags of /proc/cpuinfo -> the names that people know them by. AMX computes 2-D tiles, AVX-512 BF16 and Arm's vectors."""

_INT8_INSTRUCTIONS = {
    "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "amx_int8": "AMX", "asimddp": "Arm dot product", "i8mm": "Arm I8MM",
}  # fmt: skip
"""The same for sums of products of int8."""

GAINING = "AVX-512 BF16 (Intel Cooper Lake and Sapphire Rapids, AMD Zen 4, and later) or AMX (Sapphire Rapids and later)"
"""The x86 CPUs that compute products faster in bfloat16."""

WITHOUT = (
    "other CPUs with AVX-512 emulate it and take 2 to 3 times as long as in float32; those without AVX-512 convert to float32 "
    "and back, which takes 1.0 to 1.6 times as long"
)
"""Measured for U-Net, ConvNeXt and BERT with TensorFlow 2.21: oneDNN limited to AVX-512 without BF16, and no oneDNN."""


def bfloat16_instructions(cpuinfo: str = "/proc/cpuinfo") -> tuple[str, ...]:
    """Return the names of the CPU's instructions for bfloat16; empty if it has none, or the system does not list them."""
    return tuple(name for flag, name in _INSTRUCTIONS.items() if flag in flags(cpuinfo))


def int8_instructions(cpuinfo: str = "/proc/cpuinfo") -> tuple[str, ...]:
    """Return the names of the CPU's instructions for products of int8; empty as in `bfloat16_instructions`."""
    return tuple(name for flag, name in _INT8_INSTRUCTIONS.items() if flag in flags(cpuinfo))


@functools.cache
def flags(cpuinfo: str = "/proc/cpuinfo") -> frozenset[str]:
    """Return the names of the CPU's features; empty if the system does not list them."""
    try:
        text = Path(cpuinfo).read_text("utf-8", "replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split() if found else ())


def processor(cpuinfo: str = "/proc/cpuinfo") -> str:
    """Return the model of this machine's CPU."""
    file = Path(cpuinfo)
    found = re.search(r"^model name\s*:\s*(.*)$", file.read_text("utf-8", "replace"), re.MULTILINE) if file.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def native_precisions() -> str:
    """Return a sentence that names the precisions below float32 for which this CPU has instructions."""
    known = (("bfloat16", bfloat16_instructions()), ("int8", int8_instructions()))
    own = [f"{precision} ({', '.join(names)})" for precision, names in known if names]
    missing = [precision for precision, names in known if not names]
    has = f"This CPU has instructions for float32{''.join(f' and {each}' for each in own)}"
    return has + (f", but none for {' or '.join(missing)}." if missing else ".")


def bfloat16_note() -> str:
    """Return a sentence that says whether this CPU gains from bfloat16, and which CPUs do."""
    own = bfloat16_instructions()
    if own:
        return f"This CPU computes in bfloat16 ({', '.join(own)}); {WITHOUT}."
    return f"This CPU has no instructions for bfloat16. CPUs that gain have {GAINING}; {WITHOUT}."
