"""Writing rendered files: text from templates, YAML from objects, and no file of the user's touched."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML


def write_files(folder: Path, files: Mapping[str, str], *, owned: Iterable[str] = ()) -> list[Path]:
    """Write texts under `folder`, and remove what an earlier rendering wrote and this one does not.

    Args:
        files: path relative to `folder` -> text.
        owned: further relative paths that the renderer may have written before, with other settings.

    Returns:
        The files written, in the order given.

    Raises:
        OSError: the folder cannot be written.
    """
    for name in set(owned) - set(files):
        (folder / name).unlink(missing_ok=True)
    return [write_text(folder / name, text) for name, text in files.items()]


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 with `\\n` line ends, making the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")
    return path


def read_template(name: str) -> str:
    """The text of a file of `bundler/render/templates/`."""
    return (Path(__file__).parent / "templates" / name).read_text("utf-8")


def render_template(template: str, /, **values: Any) -> str:
    """Fill a template of `bundler/render/templates/`; HTML is escaped where the name ends in .html.j2.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not given.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bundler.render"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def read_yaml(text: str) -> Any:
    """YAML that keeps comments, quotes and order when it is written again. A text is parsed once a process."""
    return copy.deepcopy(_parsed(text))


@cache
def _parsed(text: str) -> Any:
    return _yaml().load(text)


def write_yaml(document: Any) -> str:
    """A document (of `read_yaml`, or of plain dicts and lists) in the house style."""
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold a long string
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
