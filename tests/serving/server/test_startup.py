"""Command lines that are refused at start-up, with the rule and its source; the recorded starts do not show them.

Each runs `serving.server.__main__.main` in this process, as nothing is loaded before the refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from serving.server.__main__ import FAILED, main
from tests.serving.server.recordings import MODELS

BUILD_AND_START = "model_servers/server.cc"
FILES = "tensorflow's tsl/platform/default/posix_file_system.cc, errors.cc"
TEXT = "util/proto_util.h"

BASE = f"--model_base_path={MODELS / 'rows'}"
SESSIONS = tuple(f"--tensorflow_{name}_parallelism=2" for name in ("session", "intra_op", "inter_op"))
TOO_MANY_THREADS = (
    "INVALID_ARGUMENT: Either configure server_options.tensorflow_session_parallelism or "
    "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) separately. "
    "You cannot configure all."
)


@dataclass(frozen=True)
class Refused:
    """A refused command line. `{folder}` is a folder that contains `files` (name -> bytes) and a folder named `folder`."""

    rule: str
    source: str
    flags: tuple[str, ...]
    status: str
    files: dict[str, bytes] = field(default_factory=dict)


REFUSED = [
    Refused("threads are set for sessions or for operators, not both", BUILD_AND_START, (BASE, *SESSIONS), TOO_MANY_THREADS),
    Refused("a missing batching file is reported before too many threads", BUILD_AND_START,
            (BASE, *SESSIONS, "--enable_batching", "--batching_parameters_file={folder}/nope"),
            "NOT_FOUND: {folder}/nope; No such file or directory"),
    Refused("a missing model config is reported before a batching file without its flag", BUILD_AND_START,
            ("--model_config_file={folder}/nope", "--batching_parameters_file=x"),
            "NOT_FOUND: {folder}/nope; No such file or directory"),
    Refused("a missing model config is reported before a missing batching file", BUILD_AND_START,
            ("--model_config_file={folder}/nope", "--enable_batching", "--batching_parameters_file=x"),
            "NOT_FOUND: {folder}/nope; No such file or directory"),
    Refused("nothing to serve is reported first", BUILD_AND_START, ("--batching_parameters_file=x", *SESSIONS),
            "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!"),
    Refused("a folder can be opened but not mapped", FILES,
            ("--model_config_file={folder}/folder",), "NOT_FOUND: {folder}/folder; No such device"),
    Refused("a file is not a folder", FILES, ("--model_config_file={folder}/file/x",),
            "FAILED_PRECONDITION: {folder}/file/x; Not a directory", {"file": b""}),
    Refused("a name has a maximum length", FILES, ("--model_config_file={folder}/" + "a" * 300,),
            "INVALID_ARGUMENT: {folder}/" + "a" * 300 + "; File name too long"),
    Refused("an empty file cannot be mapped", FILES, (BASE, "--enable_batching", "--batching_parameters_file={folder}/file"),
            "INVALID_ARGUMENT: {folder}/file; Invalid argument", {"file": b""}),
    Refused("a model config that is not UTF-8 does not parse", TEXT, ("--model_config_file={folder}/latin",),
            "INVALID_ARGUMENT: Invalid protobuf file: '{folder}/latin'", {"latin": b"model_config_list { } \xff"}),
    Refused("a batching file that is not UTF-8 does not parse", TEXT,
            (BASE, "--enable_batching", "--batching_parameters_file={folder}/latin"),
            "INVALID_ARGUMENT: Invalid protobuf file: '{folder}/latin'", {"latin": b"\xe9"}),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.rule)
def test_start_is_refused(case: Refused, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in case.files.items():
        (tmp_path / name).write_bytes(content)
    assert main([flag.replace("{folder}", str(tmp_path)) for flag in case.flags]) == FAILED
    first = capsysbinary.readouterr().out.decode().splitlines()[0]
    assert first == f"Failed to start server. Error: {case.status.replace('{folder}', str(tmp_path))}"


def test_each_rule_is_listed_once_with_its_source() -> None:
    assert len({case.rule for case in REFUSED}) == len(REFUSED)
    assert all(case.source.endswith((".cc", ".h")) for case in REFUSED)
