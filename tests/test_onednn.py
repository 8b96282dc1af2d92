from __future__ import annotations

import pytest

from tests import onednn


@pytest.mark.parametrize(("value", "text"), [("1", ", with oneDNN"), ("0", ", without oneDNN"), (None, "")])
def test_suffix_says_whether_the_variable_switches_onednn(
    monkeypatch: pytest.MonkeyPatch, value: str | None, text: str
) -> None:
    monkeypatch.delenv(onednn.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(onednn.VARIABLE, value)
    assert onednn.suffix() == text
