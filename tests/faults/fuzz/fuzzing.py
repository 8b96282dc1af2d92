"""What the fuzzers share: time budget, seed, damage to texts and bytes, and a sandbox that nothing may leave.

    TFBUNDLE_FUZZ_SECONDS=60 TFBUNDLE_FUZZ_SEED=7 pytest tests/faults/fuzz

By default each fuzzer runs a few seconds from a fixed seed, and ten minutes from a new seed where slow tests run. A finding names
the seed and the input, packed by zlib and base64; `TFBUNDLE_FUZZ_INPUT=<that>` runs the input alone.
"""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

SHORT_SECONDS, LONG_SECONDS = 1.0, 600.0
LEAST_INPUTS = 20
"""A busy machine may take longer than the budget for so many."""

MOST_FINDINGS = 12

HARM = re.compile(r"Traceback|Unexpected \w*(Error|Exception|Warning)|Exception calling application")
"""What no user and no log may see: a traceback, the command line's message on an unforeseen error, gRPC's on one in a handler."""

MOST_GROWTH_MB = 1024.0
"""Most memory that a process may gain from all inputs of a run."""

HOSTILE_TEXTS = (
    "", " ", "\n", "x\n", "\t", "\0", "x\0y", "\x1b[31mred", "\x7f", "é", "日本", "\u202e", "\ud800", "😀", "..", ".", "/", "//",
    "~", "-", "--debug", "--help", "-x", "a/b", "a\\b", "../x", "CON", "a b", "a'b", 'a"b', "`id`", "$(id)", "${HOME}", "{{ 1 }}",
    "{% raw %}", "%s%n", "a:b", "a: b", "- a", "#", "&a", "*a", "!!python/object", "null", "true", "no", "1", "1e9", "0x1", "NaN",
    "-1", "1" * 40, "<script>alert(1)</script>", "|", "| --- |", "]]>", "a,b", "a=b", "a;b", "x" * 300, "x" * 70_000, "__class__",
    "e\u0301",
)  # fmt: skip
HOSTILE_NUMBERS = (
    0, -1, 1, 2, 127, 128, 255, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400,
    0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip


def budgets() -> pytest.MarkDecorator:
    """Return the marks of a fuzzer: it runs for a short time, and for a long one where slow tests run."""
    chosen = os.environ.get("TFBUNDLE_FUZZ_SECONDS")
    if chosen:
        return pytest.mark.parametrize("seconds", [pytest.param(float(chosen), marks=pytest.mark.timeout(float(chosen) + 600))])
    slow = [pytest.mark.slow, pytest.mark.timeout(LONG_SECONDS + 600)]
    return pytest.mark.parametrize("seconds", [SHORT_SECONDS, pytest.param(LONG_SECONDS, marks=slow)], ids=["short", "long"])


class FindingsError(AssertionError):
    """Inputs did harm."""


class Fuzzer:
    """Gives inputs to a function until the time is over.

    Args:
        seconds: the time budget.
        check: runs one input; raises whatever shows that the input did harm.

    Attributes:
        seed: where the inputs come from.
        count: inputs so far.
    """

    def __init__(self, seconds: float, check: Callable[[bytes], object]) -> None:
        given = os.environ.get("TFBUNDLE_FUZZ_SEED")
        self.seed = int(given) if given else 1 if seconds < LONG_SECONDS else time.time_ns() % 2**32
        self.rng = random.Random(self.seed)
        self.count = 0
        self._seconds = seconds
        self._check = check
        self._findings: dict[str, str] = {}

    def run(self, make: Callable[[random.Random], bytes]) -> None:
        """Check inputs until the time is over, or only the one in TFBUNDLE_FUZZ_INPUT.

        Raises:
            FindingsError: inputs did harm; the message has one for each kind of harm, and how to run it again.
        """
        print(f"seed {self.seed}, {self._seconds:.0f} s")
        again = os.environ.get("TFBUNDLE_FUZZ_INPUT")
        if again:
            self._one(zlib.decompress(base64.b64decode(again)))
        else:
            end = time.monotonic() + self._seconds
            while (time.monotonic() < end or self.count < LEAST_INPUTS) and len(self._findings) < MOST_FINDINGS:
                self._one(make(self.rng))
        print(f"{self.count} inputs")
        if self._findings:
            raise FindingsError("\n\n".join(self._findings.values()))

    def _one(self, data: bytes) -> None:
        self.count += 1
        try:
            self._check(data)
        except (Exception, TouchedOutsideError) as exc:  # noqa: BLE001 (this is what the fuzzer looks for)
            shown = data if len(data) < 400 else data[:200] + b" ... " + data[-200:]
            trace = "".join(traceback.format_exception(exc)[-12:])
            last = trace.strip().rpartition("File ")[2]
            kind = re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "", f"{type(exc).__name__}{str(exc)[-150:]}{last[:200]}")[:200]
            packed = base64.b64encode(zlib.compress(data)).decode()
            self._findings.setdefault(
                kind,
                f"seed {self.seed}, input {self.count}, {len(data)} bytes: {shown!r}\n{trace}again: TFBUNDLE_FUZZ_INPUT={packed}",
            )


def damaged(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes with one to eight small faults: flips, cuts, repeats, and pieces of other inputs."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, size = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 16))
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = rng.randbytes(size)
        elif kind == 3:
            out[at:at] = out[at : at + size] * rng.choice((1, 2, 100))
        elif kind == 4:
            del out[at:]
        elif others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at : at + size] = other[start : start + rng.choice((1, 8, 64))]
    return bytes(out)


def hostile(rng: random.Random, more: Sequence[str] = ()) -> str:
    """Return a text that no honest user gives as a name."""
    kind = rng.randrange(4)
    if kind == 0 and more:
        return rng.choice(more)
    if kind == 1:
        return rng.choice(HOSTILE_TEXTS) + rng.choice(HOSTILE_TEXTS)
    if kind == 2:
        return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0xD800), 0x1F600))) for _ in range(rng.randrange(12)))
    return rng.choice(HOSTILE_TEXTS)


def mutated_json(value: Any, rng: random.Random, more: Sequence[str] = ()) -> Any:
    """Return a copy of a JSON value with one to three parts changed, removed, renamed, doubled or moved."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _mutated_once(value, rng, more)
    return value


def _mutated_once(value: Any, rng: random.Random, more: Sequence[str]) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key, copy = rng.choice(sorted(value)), dict(value)
        kind = rng.randrange(12)
        if kind == 0:
            del copy[key]
        elif kind == 1:
            copy[hostile(rng, more)] = copy.pop(key)
        elif kind == 2:
            copy[key] = copy[rng.choice(sorted(value))]
        else:
            copy[key] = _mutated_once(copy[key], rng, more)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.9:
        at, rest = rng.randrange(len(value)), list(value)
        kind = rng.randrange(8)
        if kind == 0:
            del rest[at]
        elif kind == 1:
            rest.insert(at, rest[at])
        else:
            rest[at] = _mutated_once(rest[at], rng, more)
        return rest
    return _other(value, rng, more)


def _other(value: Any, rng: random.Random, more: Sequence[str]) -> Any:
    """Return something else in the place of a value, often of the same type."""
    kind = rng.randrange(8)
    if kind < 3 and isinstance(value, str):
        return rng.choice((value + hostile(rng, more), hostile(rng, more) + value, hostile(rng, more), value.upper(), value[:-1]))
    if kind < 3:
        return rng.choice(HOSTILE_NUMBERS)
    choices = [None, True, [], {}, [value], {"a": value}, hostile(rng, more), rng.choice(HOSTILE_NUMBERS), [[]] * 3, [value] * 50]
    return rng.choice(choices)


def linked(tree: Path, copy: Path) -> Path:
    """Replace `copy` by a tree of hard links to the files in `tree`, which is faster than copying them."""
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(tree, copy, copy_function=os.link, symlinks=True))


class TouchedOutsideError(BaseException):
    """Something outside the sandbox was about to be changed, or a file of its owner to be read.

    It is no Exception, so that no handler of the code under test takes it.
    """


_WRITES = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.link": ((0, 2), (1, 3)), "os.symlink": ((1, 2),),
    "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),), "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}  # fmt: skip
"""Audit events that change files: the positions of their paths, each with that of the folder which a path may be relative to."""

_guards: list[Sandbox] = []


class Sandbox:
    """A folder with the owner's files, and parts of it that the code under test may change.

        owner/      must be neither read nor written
        work/       may be written
        tmp/        temporary files of the code under test
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner, self.work, self.tmp = (folder / name for name in ("owner", "work", "tmp"))
        for path in (self.owner, self.work, self.tmp):
            path.mkdir()
        (self.owner / "profile").write_text("the owner's profile")
        (self.owner / "keys").mkdir()
        (self.owner / "keys" / "id").write_text("the owner's key")
        self._reads = True
        self._before = self._state()

    @property
    def hostile_paths(self) -> list[str]:
        """Paths that lead to the owner's files from the sandbox's parts, or from a few folders below them."""
        found = [f"{'../' * up}owner{rest}" for up in range(1, 5) for rest in ("", "/profile", "/keys/id", "/new")]
        return [*found, str(self.owner), str(self.owner / "profile"), str(self.owner / "new"), f"models/../../../owner/{'x'}"]

    @contextmanager
    def guarded(self, *, reads: bool = True) -> Iterator[None]:
        """Within the block, raise at the first change outside of work and tmp, and at the first reading of the owner's files.

        Args:
            reads: whether readings count; they do not if the owner names the files.

        Raises:
            TouchedOutsideError: it happened; the change was prevented.
            AssertionError: the owner's files are changed, by a way that Python does not announce.
        """
        _install_audit()
        self._reads = reads
        _guards.append(self)
        try:
            yield
        finally:
            _guards.remove(self)
        assert self._state() == self._before, "the owner's files have changed"

    def _state(self) -> dict[str, object]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in (self.owner, *sorted(self.owner.rglob("*")))
        }

    def check(self, event: str, args: tuple[Any, ...]) -> None:
        """Judge an audit event."""
        if event == "open":
            path, mode, flags = args
            writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            self._judge(event, path, writes=writes or (isinstance(mode, str) and any(letter in mode for letter in "wax+")))
        else:
            for at, base in _WRITES[event]:
                self._judge(event, args[at], writes=True, base=-1 if base is None else args[base])

    def _judge(self, event: str, path: object, *, writes: bool, base: int = -1) -> None:
        if isinstance(path, int) or not isinstance(path, (str, bytes, os.PathLike)):
            return
        named = Path(f"/proc/self/fd/{base}" if base >= 0 else "", os.fsdecode(path))
        place = Path(os.path.realpath(named if event == "open" else named.parent / "."), "" if event == "open" else named.name)
        allowed = any(place.is_relative_to(folder) for folder in (self.work, self.tmp, Path("/dev"), Path("/proc")))
        if (writes and not allowed) or (event == "open" and self._reads and place.is_relative_to(self.owner)):
            raise TouchedOutsideError(f"{event} {'writes' if writes else 'reads'} {place}")


_installed: list[bool] = []


def _install_audit() -> None:
    """Install the hook once; it can never be removed, and does nothing while no sandbox is guarded."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if _guards and (event == "open" or event in _WRITES):
            guard = _guards[-1]
            _guards.clear()  # the check itself may open files
            try:
                guard.check(event, args)
            except ValueError:  # a path with NUL, which the system refuses
                pass
            finally:
                _guards.append(guard)

    if not _installed:
        _installed.append(True)
        sys.addaudithook(hook)


@contextmanager
def bounded_memory(pid: int | None = None) -> Iterator[None]:
    """Fail if a process, this one by default, has gained more than MOST_GROWTH_MB at the end of the block."""
    process = psutil.Process(pid)
    before = process.memory_info().rss
    yield
    gained = (process.memory_info().rss - before) / 2**20
    assert gained < MOST_GROWTH_MB, f"the process has gained {gained:.0f} MB"


def assert_harmless(text: str) -> None:
    """Fail if a text for users or a log shows an unforeseen error."""
    found = HARM.search(text)
    assert not found, text[max(found.start() - 500, 0) : found.start() + 3000]
