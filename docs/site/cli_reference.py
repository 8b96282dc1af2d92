"""The page about the commands, made from the typer application: what it says is what `tfbundle COMMAND --help` prints."""

from __future__ import annotations

import html
import re
from typing import Any

from bundler.cli import boundary
from bundler.cli.app import app

_EXIT_CODE = re.compile(r"^(\d+) +(.+)$", re.MULTILINE)


def page() -> str:
    """Return the Markdown of the page, with one section per command."""
    import typer.main

    group: Any = typer.main.get_command(app)
    codes = _EXIT_CODE.findall(boundary.__doc__ or "")
    sections = [
        "# Commands",
        "This page is made from the commands themselves. Long commands show a progress bar with stage times on a terminal and "
        "one line per stage elsewhere. `--json` prints the result for scripts. `--debug`, at any position, shows tracebacks and "
        "the log output of libraries. `tfbundle --install-completion` sets up the shell.",
        "## Exit codes",
        "| code | meaning |\n|---|---|\n" + "\n".join(f"| {code} | {text} |" for code, text in codes),
    ]
    root = group.make_context("tfbundle", [], resilient_parsing=True)
    for name, command in group.commands.items():
        if not command.hidden:
            sections.append(_section(name, command, root))
    return "\n\n".join(sections) + "\n"


def _section(name: str, command: Any, root: Any) -> str:
    """Return a command's description, usage, and one table per panel of its options."""
    context = command.context_class(command, info_name=name, parent=root, resilient_parsing=True)
    usage = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    parts = [f"## tfbundle {name}", _paragraphs(command.help), f"```text\n{usage}\n```"]
    for panel, rows in _panels(command, context).items():
        head = [f"### {panel} {{ #{name}-{_slug(panel)} }}"] if panel else []
        parts.append("\n\n".join([*head, "| option | meaning |\n|---|---|\n" + "\n".join(rows)]))
    return "\n\n".join(parts)


def _panels(command: Any, context: Any) -> dict[str, list[str]]:
    """Return the rows of a command's tables by the name of the panel; the first panel has no name."""
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and "--help" not in parameter.opts:
            names, meaning = record
            panel = getattr(parameter, "rich_help_panel", None) or ""
            panels.setdefault(panel, []).append(f"| {_code(names)} | {_text(meaning)} |")
    return panels


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(_text(" ".join(part.split())) for part in (text or "").replace("\b", "").split("\n\n"))


def _code(text: str) -> str:
    """Return code for a table's cell: Python-Markdown shows the backslash of an escaped bar within backticks."""
    escaped = "".join(f"&#{ord(character)};" if character in "|[]*_" else character for character in html.escape(text))
    return f"<code>{escaped}</code>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _text(text: str) -> str:
    """Return a help text as Markdown: what could be markup is shown as it is."""
    escaped = _cell(text.replace("\\[", "[")).replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    return escaped.replace("[", "\\[").replace("]", "\\]")


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
