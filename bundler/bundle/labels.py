"""Version labels in bundle.json: which version each label points to, and its history of promotions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bundler.bundle.manifest import Manifest, Record


def assignments(promotions: Sequence[Record], model: str, label: str) -> list[int | None]:
    """Return the versions that the label pointed to before each promotion that has not been rolled back, oldest first.

    None stands for a label that did not exist before the promotion.
    """
    versions: list[int | None] = []
    for entry in promotions:
        if (entry["model"], entry["label"]) != (model, label):
            continue
        if entry["kind"] == "promote":
            versions.append(entry["before"])
        else:
            versions.pop()
    return versions


def promoted_labels(promotions: Sequence[Record]) -> dict[tuple[str, str], int]:
    """Return the version of each label, by (model, label), that `tfbundle promote` has set."""
    last = {(entry["model"], entry["label"]): entry["version"] for entry in promotions}
    return {
        key: version for key, version in last.items() if version is not None and assignments(promotions, *key)
    }


def merge_serving(before: Manifest, serving: Record, stated: Collection[str]) -> tuple[Record, tuple[str, ...]]:
    """Merge the serving section of a newly read spec with the labels of the bundle.

    Labels and versions that the spec does not mention stay as they were. A promoted label keeps its version even if the
    spec names another one; the version that the spec names is still served.

    Args:
        before: the bundle so far.
        serving: the new spec's serving section, with its defaults.
        stated: the settings of that section that the spec mentions.

    Returns:
        The merged section, and a notice for each label whose promoted version differs from the spec's.
    """
    old = before.spec["serving"]
    labels = {name: dict(pairs) for name, pairs in (serving if "labels" in stated else old)["labels"].items()}
    versions = {name: list(numbers) for name, numbers in (serving if "versions" in stated else old)["versions"].items()}
    notices = []
    for (model, label), promoted in promoted_labels(before.promotions).items():
        in_spec = labels.get(model, {}).get(label, promoted)
        if in_spec != promoted:
            notices.append(
                f"The label {label!r} of model {model!r} stays at version {promoted}, to which it was promoted, although "
                f"bundle.yaml has version {in_spec}; only a promotion moves it."
            )
        set_label(labels, versions, model, label, promoted)
    return {**serving, "labels": labels, "versions": versions}, tuple(notices)


def set_label(
    labels: dict[str, dict[str, int]], versions: dict[str, list[int]], model: str, label: str, version: int | None
) -> None:
    """Set a label, or remove it if `version` is None, in place. A label's version joins an explicit list of versions to serve."""
    of_model = labels.setdefault(model, {})
    if version is None:
        of_model.pop(label, None)
    else:
        of_model[label] = version
        if versions.get(model) and version not in versions[model]:
            versions[model] = sorted({*versions[model], version})
    if not of_model:
        del labels[model]
