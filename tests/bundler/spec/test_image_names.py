"""Names of images are those that a container runtime takes; anything else would end up in a Dockerfile or a manifest."""

from __future__ import annotations

import pytest

from bundler.errors import SpecError
from bundler.spec.bundle_spec import parse_spec


@pytest.mark.parametrize(
    "name",
    ["digits", "team/digits:1", "registry.example.com:5000/a/b:v1.2_3", "[::1]:5000/a", f"a@sha256:{'0' * 64}", "a__b/c--d"],
)
def test_a_reference_is_accepted(name: str) -> None:
    assert parse_spec({"kubernetes": {"models_image": name}}, where="the test").kubernetes.models_image == name


@pytest.mark.parametrize("name", ["Digits", "a b", "a:", "a:b:c", "a@sha256:12", "", "-a", "a/", "a\nRUN x"])
def test_anything_else_is_refused_with_an_example(name: str) -> None:
    for section, key in (("kubernetes", "models_image"), ("kubernetes", "volume_image"), ("docker", "image")):
        with pytest.raises(SpecError, match=r"write it like registry\.example\.com|one line of visible text"):
            parse_spec({section: {key: name}}, where="the test")


def test_the_servers_image_has_no_tag_in_its_name() -> None:
    with pytest.raises(SpecError, match="without its tag"):
        parse_spec({"docker": {"image": "tensorflow/serving:2.19.1"}}, where="the test")
