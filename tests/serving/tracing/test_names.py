"""Attributes that every exporter can write."""

from __future__ import annotations

import pytest

from serving.tracing.names import SERVER_ADDRESS, SERVER_PORT, safe_text, server_address


@pytest.mark.parametrize(
    ("address", "attributes"),
    [
        ("localhost:8500", {SERVER_ADDRESS: "localhost", SERVER_PORT: 8500}),
        ("[::1]:8500", {SERVER_ADDRESS: "::1", SERVER_PORT: 8500}),
        ("unix:/run/s", {SERVER_ADDRESS: "unix:/run/s"}),
        ("no-port", {SERVER_ADDRESS: "no-port"}),
    ],
)
def test_address_has_host_and_port(address: str, attributes: dict[str, object]) -> None:
    assert server_address(address) == attributes


def test_text_of_a_client_is_short_and_utf8() -> None:
    assert safe_text("modèle") == "modèle"
    assert safe_text("a\udcffb") == "a\\udcffb"
    assert len(safe_text("x" * 100_000)) == 512
