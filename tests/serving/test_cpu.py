from __future__ import annotations

from pathlib import Path

import pytest

from serving import cpu


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni", ("AVX-512 BF16",)),
        ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile", ("AVX-512 BF16", "AMX")),
        ("Features\t: fp asimd bf16 i8mm", ("Arm BF16",)),
        ("flags\t\t: fpu avx2", ()),
        ("model name\t: avx512_bf16", ()),
    ],
)
def test_instructions_are_read_from_the_flags_of_the_first_cpu(line: str, names: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\n{line}\nbogomips\t: 5\n", "utf-8")
    assert cpu.bfloat16_instructions(str(file)) == names


def test_a_system_without_cpuinfo_has_no_known_instructions(tmp_path: Path) -> None:
    assert cpu.bfloat16_instructions(str(tmp_path / "none")) == ()


@pytest.mark.parametrize("own", [(), ("AMX",)])
def test_the_note_says_what_a_cpu_without_the_instructions_does(own: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "bfloat16_instructions", lambda: own)
    note = cpu.bfloat16_note()
    assert ("computes in bfloat16 (AMX)" in note) == bool(own)
    assert "emulate it" in note and "2 to 3 times" in note


def test_a_sentence_names_the_precisions_with_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "bfloat16_instructions", lambda: ())
    monkeypatch.setattr(cpu, "int8_instructions", lambda: ("AVX-512 VNNI",))
    assert cpu.native_precisions() == (
        "This CPU has instructions for float32 and int8 (AVX-512 VNNI), but none for bfloat16."
    )


def test_the_processor_is_named_as_the_system_does(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: AMD EPYC\nflags : avx_vnni\n", "utf-8")
    assert cpu.processor(str(file)) == "AMD EPYC" and cpu.int8_instructions(str(file)) == ("AVX VNNI",)
    assert cpu.processor(str(tmp_path / "none"))
