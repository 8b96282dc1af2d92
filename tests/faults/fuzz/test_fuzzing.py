"""The fuzzers' own tools notice harm: changes outside the sandbox, the owner's files read, tracebacks, growth."""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import zlib
from collections.abc import Callable

import pytest

from tests.faults.fuzz.fuzzing import (
    FindingsError,
    Fuzzer,
    Sandbox,
    TouchedOutsideError,
    assert_harmless,
    damaged,
    hostile,
    mutated_json,
)

HARMS: dict[str, Callable[[Sandbox], object]] = {
    "write": lambda box: (box.owner / "profile").write_text("x"),
    "append": lambda box: (box.owner / "profile").open("a"),
    "new file beside": lambda box: (box.folder / "new").write_text("x"),
    "read": lambda box: (box.owner / "keys" / "id").read_text(),
    "read through a link": lambda box: (box.work / "link" / "profile").read_text(),
    "write through a link": lambda box: (box.work / "link" / "new").write_text("x"),
    "write through ..": lambda box: (box.work / ".." / "owner" / "profile").write_text("x"),
    "rename away": lambda box: (box.owner / "profile").rename(box.work / "taken"),
    "rename over": lambda box: (box.work / "mine").rename(box.owner / "profile"),
    "replace through a link": lambda box: (box.work / "mine").replace(box.work / "link" / "profile"),
    "delete": lambda box: (box.owner / "profile").unlink(),
    "delete a tree": lambda box: shutil.rmtree(box.owner),
    "folder": lambda box: (box.owner / "new").mkdir(),
    "chmod": lambda box: (box.owner / "profile").chmod(0o777),
    "hard link": lambda box: (box.owner / "new").hardlink_to(box.work / "mine"),
    "symbolic link": lambda box: (box.owner / "new").symlink_to(box.work / "mine"),
    "truncate": lambda box: os.truncate(box.owner / "profile", 0),
}


@pytest.fixture
def box(sandbox: Sandbox) -> Sandbox:
    (sandbox.work / "link").symlink_to(sandbox.owner)
    (sandbox.work / "mine").write_text("mine")
    return sandbox


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_harm_outside_is_noticed_and_prevented(box: Sandbox, harm: Callable[[Sandbox], object]) -> None:
    with pytest.raises(TouchedOutsideError), box.guarded():
        harm(box)
    assert (box.owner / "profile").read_text() == "the owner's profile"
    assert sorted(path.name for path in box.owner.iterdir()) == ["keys", "profile"]


def test_work_inside_is_allowed(box: Sandbox) -> None:
    with box.guarded():
        (box.work / "folder").mkdir()
        (box.work / "folder" / "file").write_text("x")
        (box.work / "mine").rename(box.work / "folder" / "mine")
        shutil.rmtree(box.work / "folder")
        (box.tmp / "file").write_text("x")
        (box.work / "link").unlink()


def test_owner_may_name_files_to_read(box: Sandbox) -> None:
    with box.guarded(reads=False):
        assert (box.owner / "profile").read_text()


def test_finding_names_an_input_that_can_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def check(data: bytes) -> None:
        seen.append(data)
        if data.startswith(b"7"):
            raise KeyError(data)

    fuzzer = Fuzzer(0.0, check)
    with pytest.raises(FindingsError, match="KeyError") as caught:
        fuzzer.run(lambda rng: str(rng.randrange(100)).encode())
    packed = re.search(r"TFBUNDLE_FUZZ_INPUT=(\S+)", str(caught.value))
    assert packed and zlib.decompress(base64.b64decode(packed[1])).startswith(b"7")
    monkeypatch.setenv("TFBUNDLE_FUZZ_INPUT", packed[1])
    seen.clear()
    with pytest.raises(FindingsError):
        fuzzer.run(lambda rng: b"")
    assert len(seen) == 1 and seen[0].startswith(b"7")


def test_same_seed_gives_the_same_inputs() -> None:
    def inputs() -> list[object]:
        rng = random.Random(3)
        return [(damaged(b"abcdef", rng), hostile(rng), repr(mutated_json({"a": [1, {"b": "c"}]}, rng))) for _ in range(200)]

    assert inputs() == inputs()
    assert len(set(map(str, inputs()))) > 190


HARM = ["Traceback (most recent call last):", "error: Unexpected KeyError: 'x'", "Exception calling application: x"]


@pytest.mark.parametrize("text", HARM)
def test_unforeseen_errors_are_harm(text: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(text)):
        assert_harmless(f"2026 I fine\n{text}\n")
    assert_harmless("error: 'Unexpected' is not a model.")
