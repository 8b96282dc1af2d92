"""The cause that an exception of a library states, as one line without the library's stack and source locations.

1. TensorFlow puts a heading and a stack before the message of a graph that stopped (`Graph execution error: … Detected at
   node …`, tensorflow/python/framework/errors_impl.py), or numbers several (`2 root error(s) found`), and names the node behind
   it (`[[{{node x}}]]`). An exception within a traced function has the traceback before the message (`in user code:`).
2. ONNX Runtime puts an error code, the node, and the C++ file, function and condition before the message of a kernel.
3. Other messages are cut to their first line, and to the lines that it introduces if it ends with a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 500
"""The most characters of a cause: a message can quote a whole tensor."""

_GRAPH_ERROR = "Graph execution error:"
_ONNX_RUNTIME = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_STACK_LINE = re.compile(r"\s|Detected at node|<stack traces unavailable>|Stack trace for|\d+ root error")
_NODE = re.compile(r"\{\{node (?P<name>[^}]+)\}\}")
_ROOT = re.compile(r"^\s*\(0\)\s+\w+:\s+", re.MULTILINE)
_OP_NOTE = re.compile(r"\{\{function_node [^}]*\}\}\s*|\s*\[Op:\w+\](?: name:\s*\S*)?")
_IN_USER_CODE = re.compile(r"^\s*\w+(?:Error|Exception): (?P<text>[^\n]+)", re.MULTILINE)

_KERNEL = re.compile(
    r"Non-zero status code returned while running (?P<op>\S+) node\. Name:'(?P<name>[^']*)' Status Message: "
)
_CONDITION = re.compile(r"^\S+\.(?:h|cc|cpp|hpp):\d+ .*? was false\. ?", re.DOTALL)
_FUNCTION = re.compile(
    r"^\S+\.(?:h|cc|cpp|hpp):\d+ (?:[^()\n]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])?|\w+):? +"
)


def chain_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, the deepest last. A cause that is raised again from its own effect ends the chain."""
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def cause_of(exc: BaseException) -> str:
    """Return the cause that an exception states: one line without a full stop, or the type's name if there is no message."""
    text = str(exc).strip()
    if text.startswith("in user code:"):
        raised = list(_IN_USER_CODE.finditer(text))
        text = raised[-1]["text"] if raised else _first_line(text)
    elif _GRAPH_ERROR in text or _NODE.search(text):
        text = _tensorflow_cause(text)
    elif _ONNX_RUNTIME.match(text):
        text = _onnx_runtime_cause(text)
    else:
        text = _first_line(text)
    text = " ".join(_OP_NOTE.sub("", text).split()).rstrip(". ")
    if not text:
        return type(exc).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def _first_line(text: str) -> str:
    """Return the first line that is not empty, with the lines that follow for as long as one ends with a colon."""
    kept: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        kept.append(line)
        if not line.endswith(":"):
            break
    return " ".join(kept)


def _tensorflow_cause(text: str) -> str:
    """Return TensorFlow's message and the node that stopped: `Shape … is not compatible with … (node 'a/EnsureShape')`."""
    node = _NODE.search(text)
    root = _ROOT.search(text)
    message = text[root.end() :] if root else text.partition(_GRAPH_ERROR)[2] or text
    message = re.split(r"\n\s*\[\[", message, maxsplit=1)[0]
    lines = message.split("\n")
    while lines and (not lines[0].strip() or _STACK_LINE.match(lines[0])) and len(lines) > 1:
        lines.pop(0)
    message = " ".join(" ".join(_OP_NOTE.sub("", line) for line in lines).split()).rstrip(". ")
    # A message of shape inference names the node itself.
    return f"{message} (node {node['name']!r})" if node and "{{node" not in message else message


def _onnx_runtime_cause(text: str) -> str:
    """Return ONNX Runtime's message after the node's operator and name, without code and C++ location."""
    text = _ONNX_RUNTIME.sub("", text).partition("\nStacktrace:")[0]
    kernel = _KERNEL.search(text)
    if kernel is None:
        return text
    said = text[kernel.end() :]
    for location in (_CONDITION, _FUNCTION):
        shorter = location.sub("", said, count=1).strip()
        if shorter and shorter != said.strip():
            said = shorter
            break
    name = f" {kernel['name']!r}" if kernel["name"] else ""
    return f"{kernel['op']} node{name}: {said}"
