"""Facts about the process and the machine that build: the packages whose modules were loaded, and the CI job that ran the build.

Environment variables hold secrets, so nothing here returns one as it is: each fact is read from a variable that names it, checked
against the form that the fact has, and left out if it has another.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path
from typing import Any

_URL = re.compile(r"https?://[A-Za-z0-9.\-]+(?::\d{1,5})?(?:/[A-Za-z0-9._~/\-]*)?")
"""A URL without user name, password, query and fragment."""

_REF = re.compile(r"[A-Za-z0-9._/\-]{1,250}")
_WORD = re.compile(r"[A-Za-z0-9._\-]{1,100}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SEPARATORS = re.compile(r"[-_.]+")
_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?!.*\bextra\s*==)")
"""The name at the start of a requirement that is not one of an extra (PEP 508)."""
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def loaded_packages(always: Iterable[str] = ()) -> dict[str, str]:
    """Return the version of every installed package of which this process has loaded a module, by normalized name (PEP 503).

    Args:
        always: packages that worker processes use; they are listed if they are installed.
    """
    loaded: dict[str, set[str]] = {}
    for module in tuple(sys.modules):
        top, _, rest = module.partition(".")
        loaded.setdefault(top, set()).add(rest.partition(".")[0])
    owners = _owners()
    found = {name for top, parts in loaded.items() for name in _distributions(top, parts, owners.get(top, ()))}
    return versions_of(map(_normalized, (*found, *always)))


def packages_of_modules(modules: Iterable[str]) -> dict[str, str]:
    """Return the version of every installed package that provides one of these top-level modules, by normalized name."""
    owners = _owners()
    return versions_of(_normalized(name) for module in modules for name in owners.get(module, ()))


def required_packages(names: Iterable[str]) -> dict[str, str]:
    """Return the version of every installed package among these and those that they require, directly or not.

    Requirements of extras are left out, so name the packages of an extra. Those for other systems are not installed here.
    """
    pending, seen = [_normalized(name) for name in names], set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        with suppress(PackageNotFoundError):
            pending += [_normalized(match[0]) for text in distribution(name).requires or () if (match := _REQUIRED.match(text))]
    return versions_of(seen)


@contextmanager
def without_packages_of_ray() -> Iterator[None]:
    """Return a context in which the packages that Ray brings along for itself are not found, nor taken for installed ones.

    Importing Ray puts a folder with them on the path.
    """
    hidden = [(place, path) for place, path in enumerate(sys.path) if Path(path).name == "thirdparty_files"]
    sys.path[:] = [path for path in sys.path if Path(path).name != "thirdparty_files"]
    try:
        yield
    finally:
        for place, path in hidden:
            sys.path.insert(place, path)


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, by name."""
    versions = {}
    for name in sorted(set(names)):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _normalized(name: str) -> str:
    """Return the name of a package in the form of PEP 503."""
    return _SEPARATORS.sub("-", name).lower()


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


def _distributions(top: str, parts: set[str], owners: Iterable[str]) -> Iterator[str]:
    """Yield the packages that own the loaded modules `top.part`; several packages may share a namespace, such as google."""
    names = sorted(set(owners))
    if len(names) == 1:
        yield names[0]
        return
    for name in names:
        if parts & _parts_of(name, top):
            yield name


@lru_cache(maxsize=256)
def _parts_of(name: str, top: str) -> frozenset[str]:
    """Return the names of the modules directly below `top` that a package installs."""
    package: Distribution = distribution(name)
    paths = (file.parts for file in package.files or ())
    return frozenset(parts[1].partition(".")[0] for parts in paths if len(parts) > 1 and parts[0] == top)


def ci_build(environ: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return the CI job that this process runs in, or None if no known CI runs it.

    Args:
        environ: the environment variables; default: those of this process.

    Returns:
        `id` of the builder, `invocation` (URL of the job), and `repository`, `ref` and `commit` of the checked-out source where
        the CI names them.
    """
    variables = os.environ if environ is None else environ
    if variables.get("GITHUB_ACTIONS") == "true":
        return _github(variables)
    if variables.get("GITLAB_CI") == "true":
        return _gitlab(variables)
    return None


def _github(variables: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the facts of a GitHub Actions run (docs.github.com: "Default environment variables")."""
    server = _checked(variables.get("GITHUB_SERVER_URL"), _URL)
    repository = _checked(variables.get("GITHUB_REPOSITORY"), _REF)
    if not (server and repository):
        return None
    workflow = (variables.get("GITHUB_WORKFLOW_REF") or "").partition("@")
    path, ref = _checked(workflow[0], _REF), _checked(workflow[2], _REF)
    run, attempt = (_checked(variables.get(name), _WORD) for name in ("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"))
    facts = {
        "id": f"{server}/{path}@{ref}" if path and ref else f"{server}/{repository}",
        "invocation": f"{server}/{repository}/actions/runs/{run}/attempts/{attempt or 1}" if run else None,
        "repository": f"{server}/{repository}",
        "ref": _checked(variables.get("GITHUB_REF"), _REF),
        "commit": _checked(variables.get("GITHUB_SHA"), _COMMIT),
        "runner": _checked(variables.get("RUNNER_ENVIRONMENT"), _WORD),
    }
    return {name: value for name, value in facts.items() if value}


def _gitlab(variables: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the facts of a GitLab job (docs.gitlab.com: "Predefined CI/CD variables"); the builder is the runner."""
    project = _checked(variables.get("CI_PROJECT_URL"), _URL)
    if not project:
        return None
    runner = _checked(variables.get("CI_RUNNER_ID"), _WORD)
    facts = {
        "id": f"{project}/-/runners/{runner}" if runner else project,
        "invocation": _checked(variables.get("CI_JOB_URL"), _URL),
        "repository": project,
        "ref": _checked(variables.get("CI_COMMIT_REF_NAME"), _REF),
        "commit": _checked(variables.get("CI_COMMIT_SHA"), _COMMIT),
    }
    return {name: value for name, value in facts.items() if value}


def _checked(value: str | None, form: re.Pattern[str]) -> str | None:
    return value if value and form.fullmatch(value) else None


def without_passwords(value: Any) -> Any:
    """Return plain data in which no URL has a user name or password."""
    if isinstance(value, str):
        return _USER_INFO.sub("", value)
    if isinstance(value, Mapping):
        return {key: without_passwords(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_passwords(item) for item in value]
    return value
