"""The blocks of the documentation, and how the tests run them.

A page's blocks are run in order in one folder, by one shell, as a reader would who pastes them one after the other:

- ```console: a line that begins with `$ ` is a command. The lines below it are part of what it prints: numbers may differ,
  `…` stands for anything, and other lines may stand between them. The test waits for them if the command ends in `&`.
- ```sh, ```bash: a script, which has to succeed.
- ```python: a file of its first line's name (`# model.py`), or else a script, which has to succeed.
- ```yaml: a bundle.yaml or a part of one; it has to follow the schema. The first line may name a file, as for Python.
- ```json, ```toml: has to be well-formed. ```text is not checked.

The line before a block may be a comment, which a reader does not see:

- `<!-- not run: REASON -->`: the block needs what a test does not have; REASON is one of REASONS. The names of commands and
  flags in it are checked all the same.
- `<!-- run first: … -->`, with commands on the lines between: what the page takes for granted.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
REASONS = (
    "an excerpt", "downloads weights", "installs packages", "needs Docker and a cluster", "needs a registry", "needs mlflow",
    "needs onnx-tf", "takes minutes",
)  # fmt: skip
INDENTED = {"docs/operators.md", "docs/compatibility.md"}
"""Pages with blocks that are indented instead of fenced: they are written by a program, and only their flags are checked."""

LANGUAGES = ("console", "sh", "bash", "python", "yaml", "json", "toml", "text")
_MARKER = re.compile(r"<!-- not run: (?P<reason>.+?) -->|<!-- run first:\n(?P<commands>.*?)-->", re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]\d+)?")
_SECONDS = 900


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: number of its first line in the page, from 1.
        reason: why it is not run, or empty.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """Name of the file that the block is, or empty."""
        match = _FILE.match(self.text) if self.language in ("python", "yaml") else None
        return match[1] if match else ""

    @property
    def runs(self) -> bool:
        """Whether the block is a program, rather than a file, data or an example."""
        return self.language in ("console", "sh", "bash", "python") and not self.file and not self.reason


def pages() -> list[str]:
    """Return the paths of all pages: the README and everything in docs/."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks(page: str, text: str) -> list[Block]:
    """Return the blocks of a page.

    Raises:
        AssertionError: a block has no language, or its marker is unknown.
    """
    result: list[Block] = []
    reason = ""
    for token in MarkdownIt().parse(text):
        line = token.map[0] + 1 if token.map else 0
        where = f"{page}:{line}"
        if token.type == "html_block" and (marker := _MARKER.search(token.content)):
            reason = marker["reason"] or ""
            assert not reason or reason in REASONS, f"{where}: unknown reason {reason!r}; REASONS lists them"
            if marker["commands"]:
                result.append(Block(page, line, "sh", marker["commands"]))
            continue
        if token.type == "code_block":
            assert page in INDENTED, f"{where}: write a fenced block with a language instead of an indented one"
            result.append(Block(page, line, "sh", token.content, "an excerpt"))
        elif token.type == "fence":
            language = token.info.partition(" ")[0]
            assert language in LANGUAGES, f"{where}: the block's language is {language!r}; known are {', '.join(LANGUAGES)}"
            result.append(Block(page, line, language, textwrap.dedent(token.content), reason))
        else:
            assert not reason or token.nesting or token.type == "inline", f"{where}: no block follows the marker"
        reason = ""
    return result


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page of the repository."""
    return blocks(page, (ROOT / page).read_text("utf-8"))


# -- Checks that run nothing ---------------------------------------------------------------------------------------------


def check(block: Block) -> None:
    """Raise an exception if a block is not well-formed, or names a command or flag that does not exist."""
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "yaml":
        _check_yaml(block)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        _toml(block.text)
    elif block.language != "text":
        script = "\n".join(command for command, _ in commands(block)) if block.language == "console" else block.text
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert not done.stderr, f"{block}: {done.stderr}"
        for problem in unknown_flags(script):
            raise AssertionError(f"{block}: {problem}")


def _toml(text: str) -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    tomllib.loads(text)


def _check_yaml(block: Block) -> None:
    """Validate a bundle.yaml, or a part of one, which is completed according to its keys."""
    from bundler.spec.bundle_spec import BundleSpec, ModelSpec

    data: dict[str, Any] = YAML(typ="safe").load(block.text)
    if "apiVersion" in data:
        return
    model = {"name": "model", "source": "model.py:make"}
    if set(data) <= set(BundleSpec.model_fields):
        data = {"models": [model], **data}
    elif set(data) <= set(ModelSpec.model_fields):
        data = {"models": [{**model, **data}]}
    else:
        data = {"models": [{**model, "labels": ["a", "b"], "signatures": data}]}
    for number, each in enumerate(data["models"]):
        if "*" in each.get("source", ""):  # a pattern, whose models are named by their files
            each["name"] = f"model{number}"
    BundleSpec.model_validate(data)


def unknown_flags(script: str) -> list[str]:
    """Return the commands and flags of `tfbundle` in a script that do not exist."""
    problems = []
    for line in script.replace("\\\n", " ").splitlines():
        if "tfbundle " not in line or line.lstrip().startswith("#"):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        problems += _problems(list(lexer))
    return problems


def _problems(words: list[str]) -> Iterator[str]:
    known: frozenset[str] | None = None
    for before, word in zip(["", *words], words, strict=False):
        if before == "tfbundle" and not word.startswith("-"):
            known = _flags().get(word)
            if known is None:
                yield f"tfbundle has no command {word!r}"
        elif set(word) <= set("|&;<>()"):
            known = None
        elif known and word.startswith("--") and word.partition("=")[0] not in known:
            yield f"unknown flag {word}"


@cache
def _flags() -> dict[str, frozenset[str]]:
    """Return the flags of each command; of `serve`, which passes ModelServer's flags on, none is checked."""
    import typer.main

    from bundler.cli.app import app

    group: Any = typer.main.get_command(app)
    flags = {}
    for name, command in group.commands.items():
        names = (flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts))
        flags[name] = frozenset() if name == "serve" else frozenset((*names, "--help", "--debug", "--json"))
    return flags


# -- Running -------------------------------------------------------------------------------------------------------------


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return each command of a console block with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            assert found, f"{block}: a console block begins with `$ `"
            found[-1][1].append(line)
    return found


def pattern(line: str) -> str:
    """Return a regular expression for a printed line: any number fits a number, and anything fits `…`."""
    parts = [" +".join(_words(part)) for part in line.strip().split("…")]
    return ".*".join(parts)


def _words(text: str) -> list[str]:
    return ["[0-9.e+-]+".join(map(re.escape, _NUMBER.split(word))) for word in text.split(" ") if word] or [""]


def missing_lines(expected: list[str], printed: str) -> list[str]:
    """Return the expected lines that are not printed, in this order."""
    lines = iter(printed.splitlines())
    return [line for line in expected if not any(re.fullmatch(rf"\s*{pattern(line)}\s*", shown) for shown in lines)]


@dataclass
class Page:
    """The run of a page's blocks in a folder."""

    folder: Path
    script: list[str] = field(default_factory=list)
    expected: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def run(self, page_blocks: list[Block]) -> None:
        """Write the files, run the programs, and compare what they print with the page."""
        for block in page_blocks:
            if block.file and not block.reason:
                self._command(block, "", f"mkdir -p {Path(block.file).parent} && cp {self._kept(block)} {block.file}")
            elif block.language == "console" and block.runs:
                for command, lines in commands(block):
                    self._command(block, command, command, lines)
            elif block.runs:
                program = "python" if block.language == "python" else "source"
                self._command(block, block.text, f"{program} {self._kept(block)}")
        done = self._run()
        outputs = {name: (self.folder / ".documents" / name) for name in self.expected}
        texts = {name: path.read_text("utf-8") for name, path in outputs.items() if path.is_file()}
        last = next(reversed(texts), "")
        assert done.returncode == 0, f"exit code {done.returncode}\n{last}\n{texts.get(last, '')}\n{done.stdout}"
        for name, (command, lines) in self.expected.items():
            missing = missing_lines(lines, texts[name])
            assert not missing, f"{name}\n$ {command}\ndoes not print\n  {missing[0]}\nbut\n{texts[name]}"

    def _kept(self, block: Block) -> str:
        """Write a block's text beside the outputs; return its path."""
        path = self.folder / ".documents" / f"block-{block.line}.{block.language}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, "utf-8")
        return str(path)

    def _command(self, block: Block, shown: str, command: str, lines: list[str] | None = None) -> None:
        name = f"{block.page.replace('/', '-')}-{block.line}-{len(self.script)}"
        self.expected[name] = (shown, lines or [])
        output = shlex.quote(str(self.folder / ".documents" / name))
        (self.folder / ".documents").mkdir(exist_ok=True)
        self.script.append(f"{{ {command}\n}} > {output} 2>&1")
        if lines and command.rstrip().endswith("&"):
            wanted = shlex.quote(rf"^[[:space:]]*{pattern(lines[-1])}[[:space:]]*$")
            self.script.append(f"until grep -Eq {wanted} {output}; do sleep 0.1; kill -0 $!; done")

    def _run(self) -> subprocess.CompletedProcess[str]:
        """Run the script in a network of its own, so that its ports are free, and nothing is downloaded."""
        stop = "trap 'jobs=$(jobs -p); [ -z \"$jobs\" ] || kill $jobs; wait' EXIT"
        script = self.folder / ".documents" / "script.sh"
        script.parent.mkdir(exist_ok=True)
        script.write_text("\n".join(["set -eo pipefail", stop, *self.script, ""]), "utf-8")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
        network = [sys.executable, "-m", "tests.own_network"]
        return subprocess.run(
            [*network, "bash", str(script)], cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
