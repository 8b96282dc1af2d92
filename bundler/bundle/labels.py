"""Version labels in bundle.json: which version each label points to, and how it came there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bundler.bundle.manifest import Manifest, Record


def assignments(promotions: Sequence[Record], model: str, label: str) -> list[int | None]:
    """Versions that a label named before each promotion that is not rolled back, oldest first; None: it was not assigned."""
    former: list[int | None] = []
    for entry in promotions:
        if (entry["model"], entry["label"]) != (model, label):
            continue
        if entry["kind"] == "promote":
            former.append(entry["before"])
        else:
            former.pop()
    return former


def promoted_labels(promotions: Sequence[Record]) -> dict[tuple[str, str], int]:
    """(model, label) -> its version, of the labels that promote has set."""
    last = {(entry["model"], entry["label"]): entry["version"] for entry in promotions}
    return {
        key: version for key, version in last.items() if version is not None and assignments(promotions, *key)
    }


def kept_serving(before: Manifest, serving: Record, stated: Collection[str], notices: list[str]) -> Record:
    """The serving section of a newly read spec, with the labels that the bundle has.

    What the spec does not mention stays as it was. A promoted label stays even if the spec names another version, with a word
    in `notices`; the version it names goes on being served.
    """
    old = before.spec["serving"]
    labels = {name: dict(of) for name, of in (serving if "labels" in stated else old)["labels"].items()}
    versions = {name: list(of) for name, of in (serving if "versions" in stated else old)["versions"].items()}
    for (model, label), version in promoted_labels(before.promotions).items():
        asked = labels.get(model, {}).get(label, version)
        if asked != version:
            notices.append(
                f"bundle.yaml has the label {label} of {model} at version {asked}; it was promoted to {version} and stays "
                f"there: `tfbundle promote` moves it."
            )
        _assign(labels, versions, model, label, version)
    return {**serving, "labels": labels, "versions": versions}


def _assign(
    labels: dict[str, dict[str, int]], versions: dict[str, list[int]], model: str, label: str, version: int | None
) -> None:
    """Set or remove a label; where the versions to serve are named, its own has to be among them."""
    of_model = labels.setdefault(model, {})
    if version is None:
        of_model.pop(label, None)
    else:
        of_model[label] = version
        if versions.get(model) and version not in versions[model]:
            versions[model] = sorted({*versions[model], version})
    if not of_model:
        del labels[model]
