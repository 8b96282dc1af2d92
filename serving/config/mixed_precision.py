"""Whether the models of a bundle are to be served with `--mixed_precision=bfloat16`.

The flag is the whole server's. A build measures it for each version (`mixed_precision` in its record). It is set only if
the bundle asks for it and the latest version of every model passed: a model that is slower or wrong with it would get it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mixed_precision(manifest: Mapping[str, Any]) -> str:
    """Return the value of the flag for the content of a bundle.json: `bfloat16`, or empty for none."""
    setting = manifest.get("spec", {}).get("serving", {}).get("mixed_precision")
    return str(setting) if setting and not without_verdict(manifest) else ""


def without_verdict(manifest: Mapping[str, Any]) -> list[str]:
    """Return the models whose latest version did not pass with the flag, or was not measured with it."""
    models = manifest.get("models", {})
    return [name for name, model in models.items() if not _latest(model).get("mixed_precision", {}).get("passed")]


def _latest(model: Mapping[str, Any]) -> Mapping[str, Any]:
    versions = model["versions"]
    latest: Mapping[str, Any] = versions[max(versions, key=int)]
    return latest
