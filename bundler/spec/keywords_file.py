"""The text of bundler/spec/build_options.py: the keywords of `bundler.build` as a TypedDict, for editors and mypy."""

from __future__ import annotations

import textwrap
from typing import Any, Literal, get_args, get_origin

from bundler.spec.fields import branches, is_model
from bundler.spec.options import BuildOption, keywords

_WIDTH = 120
_HEAD = '''"""The keywords of `bundler.build`, for editors and type checkers. Written by `python -m bundler.spec`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict


class BuildOptions(TypedDict, total=False):
    """Options of a build. All are optional; docs/options.md has their defaults."""

'''


def keywords_text() -> str:
    """Return the Python source of `BuildOptions`: one key per keyword, with its type and its description."""
    return _HEAD + "\n".join(_key(keyword, option) for keyword, option in keywords().items())


def _key(keyword: str, option: BuildOption) -> str:
    python_type = option.field.option.python_type or _python_type(option.field.info.annotation)
    line = f"    {keyword}: {python_type}"
    if len(line) > _WIDTH:
        before, _, inner = python_type.partition("[Literal[")
        choices = textwrap.fill(inner.removesuffix("]]"), _WIDTH - 12, break_on_hyphens=False)
        line = f"    {keyword}: {before}[\n        Literal[\n{textwrap.indent(choices, 12 * ' ')}\n        ]\n    ]"
    described = textwrap.fill(f'"""{option.description}', _WIDTH - 8, subsequent_indent="    ")
    return f'{line}\n    {described}"""\n'


def _python_type(annotation: Any) -> str:
    union = branches(annotation)
    text = " | ".join(dict.fromkeys(map(_branch, union)))
    return f"{text} | None" if type(None) in get_args(annotation) else text


def _branch(branch: Any) -> str:
    origin, arguments = get_origin(branch), get_args(branch)
    if origin is Literal:
        return f"Literal[{', '.join(map(_quoted, arguments))}]"
    if origin is tuple:
        return f"Sequence[{_python_type(arguments[0])}]"
    if origin is dict:
        return f"Mapping[str, {_python_type(arguments[1])}]"
    return "Mapping[str, Any]" if is_model(branch) else str(branch.__name__)


def _quoted(text: str) -> str:
    return f'"{text}"'
