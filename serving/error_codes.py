"""The codes of tfbundle's errors: for each kind of problem its cause, an example, and the way out.

The texts are in `error_pages/`, one Markdown file per area: `1_options.md` has TFB1xxx, and so on. In a file:

    # TFB1: Options and bundle.yaml       the area
    ## TFB1001: Options are missing …     a code and its title
    paragraphs                            the cause
    a fenced block                        the message as the command line prints it
    paragraphs                            the way out

`tfbundle explain` prints them, and `python -m docs.error_pages` writes docs/errors/ from them. A code that was released keeps its
meaning and is never given to another kind of problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("error_pages")

_AREA = re.compile(r"# (?P<prefix>TFB\d): (?P<title>.+)")
_PAGE = re.compile(
    r"(?P<code>TFB\d{4}): (?P<title>[^\n]+)\n\n(?P<cause>.+?)\n\n```text\n(?P<example>.+?)\n```\n\n(?P<way_out>.+)", re.DOTALL
)


@dataclass(frozen=True)
class ErrorPage:
    """The explanation of a code.

    Attributes:
        code: such as TFB1204.
        title: what is wrong, in a few words.
        area: title of the codes that begin with the same digit.
        cause: why the error occurs, as Markdown.
        example: a message with this code, as the command line prints it.
        way_out: what to do, as Markdown.
    """

    code: str
    title: str
    area: str
    cause: str
    example: str
    way_out: str

    def markdown(self) -> str:
        """Return the page as Markdown, which docs/errors/ has and `tfbundle explain` prints."""
        return (
            f"# {self.code}: {self.title}\n\n{self.cause}\n\n"
            f"## Example\n\n```text\n{self.example}\n```\n\n"
            f"## Way out\n\n{self.way_out}\n"
        )

    def to_json(self) -> dict[str, str]:
        """Return the page for `tfbundle explain --json`."""
        return {
            "code": self.code,
            "title": self.title,
            "area": self.area,
            "cause": self.cause,
            "example": self.example,
            "way_out": self.way_out,
        }


@cache
def pages() -> dict[str, ErrorPage]:
    """Return all pages by their code, in ascending order.

    Raises:
        ValueError: a file does not have the form that this module's docstring describes.
    """
    found: dict[str, ErrorPage] = {}
    for path in sorted(FOLDER.glob("*.md")):
        head, *sections = path.read_text("utf-8").split("\n## ")
        area = _AREA.match(head)
        if not area:
            raise ValueError(f"{path} does not begin with '# TFB1: TITLE'.")
        for section in sections:
            page = _PAGE.fullmatch(section.strip())
            if not page or not page["code"].startswith(area["prefix"]) or page["code"] in found:
                raise ValueError(f"{path}: the section {section[:60]!r} is not a page, or its code is used twice or elsewhere.")
            found[page["code"]] = ErrorPage(area=area["title"], **{key: page[key] for key in _PAGE.groupindex})
    return dict(sorted(found.items()))


def normalized(text: str) -> str:
    """Return a code as it is written: `tfb1204`, `1204` and `error TFB1204:` stand for TFB1204."""
    number = re.fullmatch(r"(?:error\s+)?(?:TFB)?(\d{4}):?", text.strip(), re.IGNORECASE)
    return f"TFB{number[1]}" if number else text.strip().upper()
