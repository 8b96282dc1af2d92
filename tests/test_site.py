"""The documentation's site: every page is in its navigation, the made pages are complete, and the strict build passes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site import __main__ as site
from docs.site import api_reference, cli_reference, pages
from tests.requirements import require_package

ROOT = Path(__file__).parents[1]


def test_a_missing_generator_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(site, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["docs.site"])
    assert site.main() == 1
    assert "pip install -e '.[docs]'" in capsys.readouterr().err


def strict_build(folder: Path) -> subprocess.CompletedProcess[str]:
    require_package("zensical", "pip install -e '.[docs]'")
    command = [sys.executable, "-m", "docs.site", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_page_has_a_place_in_the_navigation(tmp_path: Path) -> None:
    configuration = pages.write_sources(tmp_path)
    assert configuration.is_file()
    listed = pages._paths(pages.configuration_of(tmp_path / "site-pages")["nav"])
    assert len(listed) == len(set(listed)) == len(list((tmp_path / "site-pages").rglob("*.md")))


def test_a_page_without_a_place_is_named(tmp_path: Path) -> None:
    pages.write_sources(tmp_path)
    (tmp_path / "site-pages" / "lost.md").write_text("# Lost\n")
    with pytest.raises(SystemExit, match=r"nav has no entry for lost\.md"):
        pages.configuration_of(tmp_path / "site-pages")


def test_a_folder_stands_for_its_pages_and_a_missing_page_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "errors"
    folder.mkdir()
    for name in ("b.md", "index.md", "a.md"):
        (folder / name).write_text("# x\n")
    entries = [{"Errors?": "errors/*.md"}, {"Compatibility?": "compatibility.md"}]
    assert pages._entries(entries, tmp_path) == [{"Errors": ["errors/index.md", {"a": "errors/a.md"}, {"b": "errors/b.md"}]}]


def test_the_page_about_commands_has_every_command_and_flag() -> None:
    from bundler.cli.app import app
    from tests.documents import _flags

    text = cli_reference.page()
    assert len(app.registered_commands) == len(re.findall(r"^## tfbundle ", text, re.MULTILINE))
    for command, flags in _flags().items():
        section = text.partition(f"\n## tfbundle {command}\n")[2].partition("\n## ")[0]
        assert section
        missing = [flag for flag in flags - {"--help", "--debug", "--json", "-h"} if flag.startswith("-") and flag not in section]
        assert not missing, (command, missing)


def test_the_pages_about_python_have_every_public_name() -> None:
    import bundler
    import serving

    made = api_reference.pages()
    for module, page in ((bundler, "reference/bundler.md"), (serving, "reference/serving.md")):
        for name in set(module.__all__) - {"__version__", "errors"}:
            assert f"::: {module.__name__}.{name}\n" in made[page]
    assert "::: bundler.errors.ParityError\n" in made["reference/bundler.md"]
    assert "::: bundler.ops.op\n" in made["reference/ops.md"]


def test_links_and_plain_mentions_lead_to_pages_or_to_the_repository() -> None:
    text = "[a](docs/tflite.md#x) [b](CHANGELOG.md) [c](LICENSE) [d](#here) [e](https://example.org/docs/tflite.md)"
    repository = f"[c]({pages.REPOSITORY}/blob/main/LICENSE)"
    linked = f"[a](tflite.md#x) [b](changelog.md) {repository} [d](#here) [e](https://example.org/docs/tflite.md)"
    assert pages.with_links("README.md", text) == linked
    assert pages.with_links("docs/how-to/x.md", "![p](../playground.png) [q](y.md)") == "![p](../playground.png) [q](y.md)"
    rest = ", `docs/tflite.md`, docs/none.md\n```sh\ncat docs/tflite.md\n```\n"
    mentions = "see docs/tflite.md (docs/options.md)"
    linked = "see [tflite](../tflite.md) ([options](../options.md))"
    assert pages.with_links("docs/reference/x.md", mentions + rest) == linked + rest


@pytest.mark.slow
def test_the_strict_build_passes_and_writes_every_page(tmp_path: Path) -> None:
    done = strict_build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in pages.texts():
        assert (tmp_path / "site" / path.removesuffix("index.md").removesuffix(".md") / "index.html").is_file()


@pytest.mark.slow
def test_a_dead_link_fails_the_strict_build(tmp_path: Path) -> None:
    require_package("zensical", "pip install -e '.[docs]'")
    configuration = pages.write_sources(tmp_path)
    page = tmp_path / "site-pages" / "tutorial.md"
    page.write_text(page.read_text("utf-8") + "\n[nowhere](nothing.md) and [no anchor](options.md#nothing)\n", "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(configuration)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "2 issues found" in done.stdout + done.stderr
