"""The marker that says how a field of bundle.yaml is spelled on the command line and in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """How a field appears outside bundle.yaml: `Annotated[T, Option(flag="--output", repeat=True)]`.

    A field without this marker has the flag `--field-name`, the keyword `field_name` and takes one value.

    Attributes:
        flag: the option of `tfbundle build`.
        keyword: the keyword of `bundler.build`.
        form: a value's form on the command line, shown by `--help`.
        parse: turns the text on the command line (a list of texts if `repeat`) into the field's value.
        repeat: the flag may be given several times.
        commas: the flag takes a comma-separated list; the shell completes each part.
        panel: heading of `--help` under which the flag is listed, if it is not that of the field's model.
        known: values that the shell completes although others are allowed.
        bare: the value that the flag alone stands for; one of the field's choices may follow it.
        absent: the default of the flag and the keyword, where bundle.yaml requires the key.
        python_type: the keyword's type, where `bundler.build` accepts more than bundle.yaml does.
    """

    flag: str = ""
    keyword: str = ""
    form: str = ""
    parse: Callable[[Any], Any] | None = None
    repeat: bool = False
    commas: bool = False
    panel: str = ""
    known: tuple[str, ...] = ()
    bare: str = ""
    absent: str = ""
    python_type: str = ""
