"""batching.config: how tensorflow_model_server groups requests into batches (`--batching_parameters_file`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from serving.config.text_proto import ConfigFile
from serving.errors import ConfigError
from serving.protocol.messages import serving_message

DEFAULT_MAX_BATCH_SIZE = 1000
"""`max_batch_size` of a file that does not set it (TensorFlow's shared_batch_scheduler.h)."""

_NUMBERS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "max_execution_batch_size",
)
_WRAPPED = (*_NUMBERS, "thread_pool_name", "enable_large_batch_splitting")
"""Fields that are wrapper messages, which tell an absent value from zero."""


@dataclass(frozen=True)
class BatchingParameters(ConfigFile):
    """The content of a batching.config; None leaves the server's own default. Sizes are rows, times microseconds.

    Raises:
        ConfigError: a number is out of range, or no batch session accepts the allowed_batch_sizes.
    """

    MESSAGE: ClassVar[str] = "BatchingParameters"

    max_batch_size: int | None = None
    batch_timeout_micros: int | None = None
    max_enqueued_batches: int | None = None
    num_batch_threads: int | None = None
    thread_pool_name: str | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool | None = None
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value, lowest = getattr(self, name), 0 if name == "batch_timeout_micros" else 1
            if value is not None and value < lowest:
                raise ConfigError(
                    f"{name} must be {lowest} or more, got {value}.",
                    fix=f"write e.g. {name} {{ value: 32 }}",
                    code="TFB6103",
                )
        if self.enable_large_batch_splitting:
            self._check_splitting()
        if self.allowed_batch_sizes:
            self._check_allowed_sizes()

    @property
    def _largest_request(self) -> int:
        return self.max_batch_size or DEFAULT_MAX_BATCH_SIZE

    def _check_splitting(self) -> None:
        if self.max_execution_batch_size is None:
            raise ConfigError(
                "enable_large_batch_splitting is set without max_execution_batch_size.",
                fix="set the largest batch to run, e.g. max_execution_batch_size { value: 32 }",
                code="TFB6103",
            )
        if self.max_execution_batch_size > self._largest_request:
            raise ConfigError(
                f"max_execution_batch_size must be at most max_batch_size, {self._largest_request}, "
                f"got {self.max_execution_batch_size}.",
                fix="make max_batch_size the larger of the two, because only requests larger than a batch are split",
                code="TFB6103",
            )

    def _check_allowed_sizes(self) -> None:
        """Raise if the sizes do not ascend or do not end with max_batch_size.

        The server demands the last size, with splitting too (servables/tensorflow/bundle_factory_util.cc). It would accept
        any order and pad to the first size that is large enough; the ascending order is a rule of tfbundle.
        """
        sizes, largest = self.allowed_batch_sizes, self._largest_request
        if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise ConfigError(
                f"allowed_batch_sizes must be positive and in ascending order, got {list(sizes)}.",
                fix="sort the sizes, each once, e.g. 1, 8, 32",
                code="TFB6103",
            )
        if sizes[-1] != largest:
            example = ", ".join(map(str, (*sizes[:-1], largest)))
            raise ConfigError(
                f"The last of allowed_batch_sizes must be max_batch_size, {largest}, got {sizes[-1]}.",
                fix=f"make the last one equal max_batch_size, e.g. {example}",
                code="TFB6103",
            )

    def to_proto(self) -> Any:
        """Return a BatchingParameters message."""
        proto = serving_message(self.MESSAGE)(
            allowed_batch_sizes=self.allowed_batch_sizes,
            pad_variable_length_inputs=self.pad_variable_length_inputs,
        )
        for name in _WRAPPED:
            value = getattr(self, name)
            if value is not None:
                getattr(proto, name).value = value
        return proto

    @classmethod
    def from_proto(cls, config: Any) -> BatchingParameters:
        """Read a BatchingParameters message.

        Raises:
            ConfigError: a value is wrong.
        """
        wrapped = {name: getattr(config, name).value for name in _WRAPPED if config.HasField(name)}
        return cls(
            allowed_batch_sizes=tuple(config.allowed_batch_sizes),
            pad_variable_length_inputs=config.pad_variable_length_inputs,
            **wrapped,
        )
