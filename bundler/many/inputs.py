"""The files that the build of a model reads, and their digests.

They are found in four ways, as each sees what the others cannot:

1. every text of the model's section that is the path of a file or folder, or `file.py:callable`;
2. the external data of an ONNX file;
3. the modules beside a Python file that it imports, directly or not;
4. every file that Python opens for reading while the model is built (sys.addaudithook), such as weights that the user's code
   reads.

Files of Python and of installed packages are left out, as the versions of packages stand for them.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from bundler.many.hashes import Hashes
from bundler.process import environment

_NOT_DATA = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/run/", "/bin/", "/lib")
_OWN = tuple(str(Path(__file__).resolve().parents[2] / package) + os.sep for package in ("bundler", "serving"))
_GENERATED = "__autograph_generated_file"  # TensorFlow's own, in the folder for temporary files
_MODEL_CACHES = ("huggingface", "torch", "timm")
_PACKAGE = "package:"
_LISTING = "/"  # the end of a folder's name in a list of inputs

Inputs = dict[str, str]
"""Path -> sha256, relative to the model's base where it is below that; `FOLDER/` -> sha256 of all its files; `package:NAME` ->
version."""


class _Recorder:
    """Records the files that this process opens for reading. There is one per process, as audit hooks cannot be removed."""

    def __init__(self) -> None:
        self.opened: set[str] | None = None
        self.written: set[str] = set()
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            sys.addaudithook(self._hook)
            self._installed = True

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or self.opened is None:
            return
        path, mode, flags = arguments
        if not isinstance(path, (str, os.PathLike)):
            return
        writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else bool(mode and set(mode) & set("wax+"))
        (self.written if writes else self.opened).add(str(Path(path).absolute()))


_recorder = _Recorder()


@contextmanager
def recorded() -> Iterator[set[str]]:
    """Return a context with the set of files that this process opens for reading until its end, and writes in no case."""
    _recorder.install()
    opened: set[str] = set()
    _recorder.opened, _recorder.written = opened, set()
    try:
        yield opened
    finally:
        _recorder.opened = None
        opened -= _recorder.written


def named_paths(section: Mapping[str, Any], base: Path) -> set[Path]:
    """Return the files and folders that the texts of a model's section name."""
    found = set()
    for text in _texts({key: value for key, value in section.items() if key != "name"}):
        for candidate in (text, text.rpartition(":")[0], text.partition(":")[2]):
            path = _existing(base, candidate)
            if path is not None and path != base.resolve():
                found.add(path)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _existing(base: Path, text: str) -> Path | None:
    if not text or "\0" in text or len(text) > os.pathconf("/", "PC_PATH_MAX"):
        return None
    try:
        path = (base / Path(text).expanduser()).resolve()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def external_data(path: Path) -> set[Path]:
    """Return the files with the weights of an ONNX file that are not in the file itself."""
    import onnx
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    model = onnx.load(str(path), load_external_data=False)
    places = {entry.value for tensor in _get_all_tensors(model) if uses_external_data(tensor)
              for entry in tensor.external_data if entry.key == "location"}  # fmt: skip
    return {each for place in places if (each := path.parent / place).is_file()}


def local_imports(path: Path, seen: set[Path] | None = None) -> tuple[set[Path], set[str]]:
    """Return the modules beside a Python file that it imports, directly or not, and the names of all others that it imports."""
    seen = set() if seen is None else seen
    seen.add(path)
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return seen, set()
    others: set[str] = set()
    for name in _imported(tree):
        files = [path.parent.joinpath(*name.split(".")).with_suffix(".py"), path.parent.joinpath(*name.split("."), "__init__.py"),
                 path.parent.joinpath(*name.split(".")[:-1]).with_suffix(".py") if "." in name else path]  # fmt: skip
        own = [file.resolve() for file in files if file.is_file() and file != path]
        for file in own:
            if file not in seen:
                others |= local_imports(file, seen)[1]
        if not own:
            others.add(name.partition(".")[0])
    return seen, others


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.module
            yield from (f"{node.module}.{alias.name}" if node.module else alias.name for alias in node.names)


def find_inputs(section: Mapping[str, Any], base: Path, opened: Iterable[str], scratch: Iterable[Path], hashes: Hashes) -> Inputs:
    """Return the inputs of a build with their digests.

    Args:
        section: the model's section of the spec, as plain data.
        base: the folder that its relative paths start from.
        opened: the files that were opened during the build.
        scratch: folders of the build's own, whose files are no inputs.
        hashes: computes and remembers digests.
    """
    named = named_paths(section, base)
    modules, names = set(), set()
    for path in [path for path in named if path.suffix == ".py"]:
        files, imported = local_imports(path)
        modules |= files
        names |= imported
    data = {file for path in named if path.suffix == ".onnx" and path.is_file() for file in external_data(path)}
    own = [str(folder.resolve()) + os.sep for folder in scratch]
    read = {Path(path) for path in opened if _is_data(path, base, own)}
    inside = [path for path in named if path.is_dir()]
    read = {path for path in read if path.is_file() and not any(path.is_relative_to(folder) for folder in inside)}
    return digests({*named, *modules, *data, *read}, base, hashes) | _packages(names)


def _is_data(path: str, base: Path, own: Iterable[str]) -> bool:
    """Return whether a file that was opened belongs to the model, and not to Python, a package, the system, or this build."""
    real = os.path.realpath(path)
    if path.endswith(".pyc") or Path(path).name.startswith(_GENERATED):
        return False
    if any(each.startswith((*_NOT_DATA, *_OWN, *_library_folders(), *own)) for each in (path, real)):
        return False
    return not _is_setting(real) or Path(real).is_relative_to(base.resolve())


def _is_setting(path: str) -> bool:
    """Return whether a file is in one of the hidden folders in which libraries keep settings and caches; models are kept, too."""
    home = Path.home().resolve()
    if not Path(path).is_relative_to(home):
        return False
    parts = Path(path).relative_to(home).parts
    return parts[0].startswith(".") and not any(part in _MODEL_CACHES for part in parts)


@lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    paths = {sys.prefix, sys.base_prefix, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))}
    return tuple(sorted({each + os.sep for path in paths for each in (path, os.path.realpath(path))}))


def digests(paths: Iterable[Path], base: Path, hashes: Hashes) -> Inputs:
    """Return the digest of each file and folder, by its path relative to `base` where it is below that.

    Raises:
        OSError: one of them cannot be read.
    """
    found = {}
    for path in sorted(paths):
        shown = _shown(path, base)
        found[shown + _LISTING if path.is_dir() else shown] = hashes.of(path)
    return found


def _shown(path: Path, base: Path) -> str:
    root = base.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _packages(modules: Iterable[str]) -> Inputs:
    found = environment.packages_of_modules(modules)
    return {f"{_PACKAGE}{name}": version for name, version in found.items()}


def are_unchanged(inputs: Inputs, base: Path, hashes: Hashes) -> bool:
    """Return whether every file, folder and package still is as it was."""
    wanted = {name.removeprefix(_PACKAGE): version for name, version in inputs.items() if name.startswith(_PACKAGE)}
    if wanted != environment.versions_of(wanted):
        return False
    for name, digest in inputs.items():
        if name.startswith(_PACKAGE):
            continue
        path = base.resolve() / name
        if path.is_dir() != name.endswith(_LISTING) or not path.exists():
            return False
        try:
            if hashes.of(path) != digest:
                return False
        except OSError:
            return False
    return True


def packages(inputs: Inputs) -> list[str]:
    """Return the names of the packages that the user's Python files import."""
    return [name.removeprefix(_PACKAGE) for name in inputs if name.startswith(_PACKAGE)]
