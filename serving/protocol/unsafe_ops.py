"""Operators of TensorFlow that reach out of the graph: to files, the network, Python or other processes.

A SavedModel is a program, and loading one already runs a part of it (its initializers). Most of TensorFlow's operators compute
tensors from tensors. Those in `_TABLE` do more, and so may any operator that is not in `tf_ops.txt`, the list of the operators
that this table was checked against: it belongs to a plugin or to another version of TensorFlow. After an upgrade of TensorFlow,
go through its new operators, extend `_TABLE`, and run

    python -m serving.protocol.extract
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from serving.texts import printable

REVIEWED = Path(__file__).with_name("tf_ops.txt")
"""All operators that TensorFlow registers and that `_TABLE` was checked against, one per line; internal ones are left out."""

_READS = "reads files"
_WRITES = "writes files"
_NETWORK = "uses the network"
_PYTHON = "calls a Python function of the process that runs it"
_NATIVE = "calls machine code by name, past TensorFlow's operators"
_DEVICES = "exchanges data with other devices or processes"
_TPU = "configures or runs a TPU, which other processes share"
_HIDDEN = "runs a graph that is stored as a tensor and cannot be checked"
_PROCESS = "changes or ends the process that runs it"
_DEBUG = "sends tensors to a file or to the network for a debugger"

_TABLE: dict[str, str] = {
    _READS: """
        ReadFile MatchingFiles MatchingFilesDataset ExperimentalMatchingFilesDataset ImmutableConst
        WholeFileReader WholeFileReaderV2 TextLineReader TextLineReaderV2 TFRecordReader TFRecordReaderV2 IdentityReader
        IdentityReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2 LMDBReader
        TextLineDataset TFRecordDataset TFRecordDatasetV2 FixedLengthRecordDataset FixedLengthRecordDatasetV2 CSVDataset
        CSVDatasetV2 ExperimentalCSVDataset LMDBDataset ExperimentalLMDBDataset SqlDataset ExperimentalSqlDataset LoadDataset
        SnapshotDatasetReader SnapshotNestedDatasetReader SnapshotChunkDataset ListSnapshotChunksDataset RecordInput
        Skipgram InitializeTableFromTextFile InitializeTableFromTextFileV2
        Restore RestoreSlice RestoreV2 DTensorRestoreV2 LoadAndRemapMatrix GenerateVocabRemapping
    """,
    _WRITES: """
        WriteFile Save SaveSlices SaveV2 MergeV2Checkpoints DistributedSave DatasetToTFRecord ExperimentalDatasetToTFRecord
        SaveDataset SaveDatasetV2 SnapshotDataset SnapshotDatasetV2 CacheDataset CacheDatasetV2 DumpTensor
        CalibrationStatisticsSaver StoreMinibatchStatisticsInFdo CreateSummaryFileWriter CreateSummaryDbWriter
        WriteAudioSummary WriteGraphSummary WriteHistogramSummary WriteImageSummary WriteRawProtoSummary WriteScalarSummary
        WriteSummary ImportEvent FlushSummaryWriter CloseSummaryWriter StatsAggregatorSetSummaryWriter
    """,
    _NETWORK: """
        RpcClient RpcServer RpcServerRegister RpcServerStart RpcCall RpcCheckStatus RpcGetValue DeleteRpcFutureResource TryRpc
        Rpc DataServiceDataset* RegisterDataset RegisterDatasetV2
    """,
    _PYTHON: "PyFunc PyFuncStateless EagerPyFunc",
    _NATIVE: "XlaCustomCall XlaCustomCallV2 XlaCallModule MlirPassthroughOp",
    _DEVICES: "Send Recv RemoteCall Collective* Nccl* DTensor* XlaSend* XlaRecv* XlaHostCompute",
    _TPU: "*TPU* *Tpu* Infeed* Outfeed* WorkerHeartbeat XlaSparseCore* *WithPhysicalReplica",
    _HIDDEN: "DatasetFromGraph",
    _PROCESS: "Abort FileSystemSetConfiguration",
}
"""Reason -> names of operators, with `*` for any characters. The first reason that fits an operator counts."""

_DEPENDS: dict[str, tuple[str, re.Pattern[str], str]] = {
    "PrintV2": ("output_stream", re.compile("(stdout|stderr|log\\(\\w+\\))?"), _WRITES),
    "DecodeProtoV2": ("descriptor_source", re.compile("(local://)?|bytes://.*", re.DOTALL), _READS),
    "EncodeProto": ("descriptor_source", re.compile("(local://)?|bytes://.*", re.DOTALL), _READS),
    "FixedUnigramCandidateSampler": ("vocab_file", re.compile(""), _READS),
    "DebugIdentity": ("debug_urls", re.compile(""), _DEBUG),
    "DebugIdentityV2": ("debug_urls", re.compile(""), _DEBUG),
    "DebugIdentityV3": ("debug_urls", re.compile(""), _DEBUG),
    "DebugNanCount": ("debug_urls", re.compile(""), _DEBUG),
    "DebugNumericSummary": ("debug_urls", re.compile(""), _DEBUG),
    "Copy": ("debug_ops_spec", re.compile(""), _DEBUG),
    "CopyHost": ("debug_ops_spec", re.compile(""), _DEBUG),
}
"""Operators that one attribute makes unsafe: the attribute, the values that are harmless, and the reason otherwise."""

_COMPUTES = re.compile("_Fused.*|_Mkl.*")
"""Internal operators that only compute: what the optimiser makes of several operators, in a graph that was saved optimised."""

_INTERNAL = "is internal to TensorFlow's runtime and has no place in a saved model"
_UNKNOWN = "is not an operator of TensorFlow that tfbundle knows; the code of a plugin would run"


@dataclass(frozen=True)
class UnsafeUse:
    """A part of a model that reaches out of it.

    Attributes:
        name: the operator, or the file.
        why: what it does, as the rest of a sentence that begins with the name.
        where: the node or function, or empty.
    """

    name: str
    why: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.why}" + (f" ({self.where})" if self.where else "")


def grouped(uses: Iterable[UnsafeUse]) -> list[UnsafeUse]:
    """Return one entry per operator and reason, with the first place and the number of further ones."""
    groups: dict[tuple[str, str], list[str]] = {}
    for use in uses:
        groups.setdefault((use.name, use.why), []).append(use.where)
    return [
        UnsafeUse(name, why, places[0] + (f" and {len(places) - 1} more" if places[0] and len(places) > 1 else ""))
        for (name, why), places in groups.items()
    ]


def shown(text: str) -> str:
    """Return a name of a stranger's file in a form that can be shown: short, and without control characters."""
    return printable(text[:100]) + ("…" if len(text) > 100 else "")


def why_unsafe(op: str, attributes: Mapping[str, Any]) -> str | None:
    """Return why an operator is unsafe, or None for one that only computes.

    Args:
        op: the operator's name.
        attributes: the node's attributes: `tensorflow.AttrValue` messages by name.
    """
    if op in _DEPENDS:
        name, harmless, reason = _DEPENDS[op]
        value = attributes.get(name)
        return None if value is None or all(map(harmless.fullmatch, _texts(value))) else reason
    return _reason(op)


def is_reviewed(op: str) -> bool:
    """Return whether the table was checked against this operator."""
    return op in _reviewed()


def _texts(value: Any) -> list[str]:
    """Return an attribute's strings. Anything else, such as a parameter of the function, has no value that can be checked."""
    kind = value.WhichOneof("value")
    strings = {"s": [value.s], "list": list(value.list.s)}.get(kind or "", [b"\0"])
    return [text.decode("utf-8", "replace") for text in strings]


@cache
def _reason(op: str) -> str | None:
    for reason, pattern in _patterns().items():
        if pattern.fullmatch(op):
            return reason
    if op.startswith("_"):
        return None if _COMPUTES.fullmatch(op) else _INTERNAL
    return None if is_reviewed(op) else _UNKNOWN


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {reason: _pattern(names) for reason, names in _TABLE.items()}


def _pattern(names: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names.split()))


@cache
def _reviewed() -> frozenset[str]:
    return frozenset(REVIEWED.read_text("utf-8").split())
