"""values.yaml and README.md of the Helm chart, made from the descriptions in values.schema.json."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml.comments import CommentedMap

from bundler.render.files import write_yaml
from serving.texts import markdown

_WIDTH = 120


def values_text(schema: Mapping[str, Any], values: Mapping[str, Any], name: str) -> str:
    """Return values.yaml: the values in the schema's order, each below its description.

    Raises:
        KeyError: The schema does not describe a value.
    """
    head = (
        "# Written by tfbundle. The values are those of base/, components/ and overlays/prod; the templates produce the same\n"
        "# objects.\n"
        f"# Put your own values into a separate file: helm upgrade --install {name} k8s/chart -f my-values.yaml\n"
        "# The names of all objects begin with the release's name, so that several releases can be in one namespace.\n"
    )
    return head + write_yaml(_commented(schema["properties"], values, 0))


def _commented(properties: Mapping[str, Any], values: Mapping[str, Any], indent: int) -> CommentedMap:
    """Return the values as a document with comments."""
    unknown = set(values) - set(properties)
    if unknown:
        raise KeyError(f"values.schema.json does not describe {', '.join(sorted(unknown))}")
    document = CommentedMap()
    for key in (key for key in properties if key in values):
        entry, value = properties[key], values[key]
        document[key] = _commented(entry["properties"], value, indent + 2) if _is_section(entry, value) else value
        lines = textwrap.wrap(entry["description"], _WIDTH - indent - 2, break_on_hyphens=False, break_long_words=False)
        before = ("\n" if indent == 0 else "") + "\n".join(lines)
        document.yaml_set_comment_before_after_key(key, before=before, indent=indent)
    return document


def _is_section(entry: Mapping[str, Any], value: object) -> bool:
    """Return whether a value is a mapping whose keys have descriptions."""
    return isinstance(value, dict) and any("description" in part for part in entry.get("properties", {}).values())


def readme_text(schema: Mapping[str, Any], values: Mapping[str, Any], name: str) -> str:
    """Return README.md: how to install the chart, and a table of its values."""
    rows = "\n".join(
        f"| `{key}` | {_default(value)} | {markdown(text)} |" for key, value, text in _rows(schema["properties"], values)
    )
    return f"""# {name}

A Helm chart of TensorFlow Serving with the models of a bundle, written by tfbundle.

    helm upgrade --install {name} . -f my-values.yaml
    helm test {name}

Rendering again overwrites this folder, except for files that it does not contain, such as `my-values.yaml`.

## Values

| value | default | meaning |
|---|---|---|
{rows}
"""


def _rows(properties: Mapping[str, Any], values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    for key in (key for key in properties if key in values):
        entry, value = properties[key], values[key]
        yield f"{prefix}{key}", value, entry["description"]
        if _is_section(entry, value):
            yield from _rows(entry["properties"], value, f"{prefix}{key}.")


def _default(value: Any) -> str:
    """Return a value for the table; long ones stand in values.yaml."""
    text = json.dumps(value)
    if (isinstance(value, dict) and value) or len(text) > 60:
        return ""
    return f"`{text}`".replace("|", r"\|")
