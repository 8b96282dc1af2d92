"""Write rendered files: text from templates and YAML from objects. Files that belong to the user are never touched."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.resolver import implicit_resolvers

from serving.lazy import once
from serving.texts import markdown, markdown_code


def write_files(folder: Path, files: Mapping[str, str], *, owned: Iterable[str] = ()) -> list[Path]:
    """Write texts under `folder`, and remove files of an earlier rendering that this one does not write.

    Args:
        folder: The folder to write to; it is created if needed.
        files: Path relative to `folder` to text.
        owned: Relative paths that the renderer may have written before, with other settings.

    Returns:
        The paths of the files written, in the order of `files`.

    Raises:
        OSError: The folder cannot be written.
    """
    for name in set(owned) - set(files):
        (folder / name).unlink(missing_ok=True)
    return [write_text(folder / name, text) for name, text in files.items()]


def write_text(path: Path, text: str) -> Path:
    r"""Write `text` as UTF-8 with `\n` line ends, create parent folders as needed, and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")
    return path


def read_template(name: str) -> str:
    """Return the text of a file in `bundler/render/templates/`."""
    return (Path(__file__).parent / "templates" / name).read_text("utf-8")


def render_template(template: str, /, **values: Any) -> str:
    """Fill a template in `bundler/render/templates/`. Values are escaped for HTML if its name ends in .html.j2.

    For Markdown, the filters `md` and `md_code` escape a text and a name in code style.

    Raises:
        jinja2.UndefinedError: The template uses a name that `values` lacks.
    """
    return _environment().get_template(template).render(**values)


@once
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bundler.render"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown, "md_code": markdown_code}
    return environment


def read_yaml(text: str) -> Any:
    """Parse YAML into a document that keeps comments, quotes and order when `write_yaml` writes it.

    Each text is parsed once per process.
    """
    return copy.deepcopy(_parsed(text))


@once
def _parsed(text: str) -> Any:
    return _yaml().load(text)


def write_yaml(document: Any) -> str:
    """Return a document, from `read_yaml` or made of plain dicts and lists, as YAML in the style of the shipped tree."""
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


@lru_cache(maxsize=4096)
def _reads_as_text(text: str) -> bool:
    """Return whether YAML 1.1 reads a plain scalar as a string."""
    return text not in ("y", "Y", "n", "N") and not any(
        pattern.match(text) for versions, _, pattern, _ in implicit_resolvers if (1, 1) in versions
    )


class _Representer(RoundTripRepresenter):
    """Writes plain strings so that they stay strings in YAML 1.1, which kubectl, Helm and Docker read: `yes` needs quotes."""

    def represent_text(self, text: str) -> Any:
        """Return the node of a plain string."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if _reads_as_text(text) else "'")


_Representer.add_representer(str, _Representer.represent_text)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold a long string
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
