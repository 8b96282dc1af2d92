"""What is known of the runtimes that run an exported file."""

from __future__ import annotations

from pathlib import Path

from bundler.mobile.runtime_facts import RuntimeFacts, runtime_facts


def test_file_states_its_minimum(colors: Path) -> None:
    facts = runtime_facts(colors / "colors-int8-io.tflite")
    assert facts.minimum is not None and facts.minimum.startswith("TensorFlow Lite 1.")
    assert facts.to_json() == {"minimum_runtime": facts.minimum}


def test_unknown_facts_are_left_out() -> None:
    assert RuntimeFacts(None).to_json() == {}
    assert RuntimeFacts("2", ("1: wrong",)).to_json() == {"minimum_runtime": "2", "known_bad_runtimes": ["1: wrong"]}
