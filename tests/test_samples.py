"""`make test` runs a sample of the cases of a test with the mark `sample`."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.sample(3)
@pytest.mark.parametrize("number", [pytest.param(0, marks=pytest.mark.slow), *range(1, 8)])
def test_sampled(number): pass

@pytest.mark.parametrize("number", range(4))
def test_whole(number): pass
"""


def test_the_first_case_and_each_third_after_it_are_not_slow(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import pytest\nfrom tests.samples import mark_samples\n"
                          "@pytest.hookimpl(tryfirst=True)\ndef pytest_collection_modifyitems(items): mark_samples(items)\n"
                          "def pytest_configure(config):\n"
                          "    for mark in ('slow', 'sample'): config.addinivalue_line('markers', mark)\n")  # fmt: skip
    pytester.makepyfile(TESTS)
    chosen = pytester.runpytest_inprocess("-m", "not slow", "-v")
    chosen.assert_outcomes(passed=7, deselected=5)
    chosen.stdout.fnmatch_lines(["*test_sampled[[]1] PASSED*", "*test_sampled[[]4] PASSED*", "*test_sampled[[]7] PASSED*"])
    pytester.runpytest_inprocess().assert_outcomes(passed=12)
