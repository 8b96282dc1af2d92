"""A signed bundle, and the key that signed it."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import pytest

from tests.requirements import require_package

if TYPE_CHECKING:
    from tests.bundler.delivery.supply_chain.signers import KeyPair


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """Return the key that signed `signed_once`."""
    for module in ("model_signing", "OpenSSL"):
        require_package(module, "pip install 'tfbundle[sign]'")
    from tests.bundler.delivery.supply_chain.signers import key_pair

    return key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def signed_once(tmp_path_factory: pytest.TempPathFactory, small_bundle: Path, signer: KeyPair) -> Path:
    """Return a signed bundle, which is not to be changed."""
    from bundler.delivery.supply_chain.keys import SigningKey
    from bundler.operations.sign import sign

    root = copytree(small_bundle, tmp_path_factory.mktemp("signed") / "small")
    sign(root, SigningKey.load(signer.private))
    return root


@pytest.fixture
def signed(tmp_path: Path, signed_once: Path) -> Path:
    """Return a copy of a signed bundle."""
    return copytree(signed_once, tmp_path / "small")
