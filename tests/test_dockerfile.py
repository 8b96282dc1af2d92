"""The image of the tool itself: copied files exist, are sent to the builder, and suffice to build the wheel."""

from __future__ import annotations

from pathlib import Path

from tests.bundler.render.test_docker import arguments, parse_dockerfile

ROOT = Path(__file__).parents[1]


def test_copied_files_exist_and_are_sent_to_the_builder() -> None:
    instructions = parse_dockerfile((ROOT / "Dockerfile").read_text())
    copies = [rest.split() for rest in arguments(instructions, "COPY")]
    sources = {word for words in copies if not words[0].startswith("--from=") for word in words[:-1]}
    assert {"pyproject.toml", "bundler", "serving", "k8s"} <= sources
    assert all((ROOT / source).exists() for source in sources)
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == sources


def test_the_last_stage_only_copies_and_does_not_run_as_root() -> None:
    instructions = parse_dockerfile((ROOT / "Dockerfile").read_text())
    last = [i for i, (word, _) in enumerate(instructions) if word == "FROM"][-1]
    final = instructions[last:]
    assert "RUN" not in {word for word, _ in final}
    assert arguments(final, "USER") == ["10001:10001"]
    assert arguments(final, "ENTRYPOINT") == ['["tfbundle"]']
