"""Version policies: which versions they serve."""

from __future__ import annotations

import pytest

from serving.config.version_policy import AllVersions, Latest, Specific, VersionPolicy, served_versions
from serving.errors import ConfigError


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (Latest(), (9,)),
        (Latest(2), (3, 9)),
        (Latest(7), (1, 3, 9)),
        (AllVersions(), (1, 3, 9)),
        (Specific((9, 1)), (1, 9)),
    ],
)
def test_a_policy_serves_these_versions(policy: VersionPolicy, served: tuple[int, ...]) -> None:
    assert served_versions(policy, [9, 1, 3]) == served


def test_latest_must_count_at_least_one_version() -> None:
    with pytest.raises(ConfigError, match="num_versions of 1 or more, got 0"):
        Latest(0)


@pytest.mark.parametrize("versions", [(), (1, 2, 1)])
def test_specific_versions_must_be_given_and_distinct(versions: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="version policy specific"):
        Specific(versions)
