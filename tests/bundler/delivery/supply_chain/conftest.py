"""A signed bundle."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from bundler.delivery.supply_chain.keys import SigningKey
from bundler.operations.sign import sign
from tests.bundler.delivery.supply_chain.signers import KeyPair, key_pair
from tests.requirements import require_package

require_package("model_signing", "pip install 'tfbundle[sign]'")
require_package("OpenSSL", "pip install 'tfbundle[sign]'")


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """Return the key that signed `signed_once`."""
    return key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def signed_once(tmp_path_factory: pytest.TempPathFactory, small_bundle: Path, signer: KeyPair) -> Path:
    """Return a signed bundle, which is not to be changed."""
    root = copytree(small_bundle, tmp_path_factory.mktemp("signed") / "small")
    sign(root, SigningKey.load(signer.private))
    return root


@pytest.fixture
def signed(tmp_path: Path, signed_once: Path) -> Path:
    """Return a copy of a signed bundle."""
    return copytree(signed_once, tmp_path / "small")
