"""File formats of shards: parquet tables and safetensors, with metadata beside the content."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigain.core.records import read_table, save_table

Records = TypeVar("Records")
"""Records of a shard: a table of trials, or named tensors whose first dimension is the image."""


class ShardFormat(ABC, Generic[Records]):
    """File format of a shard's records."""

    suffix: str

    @abstractmethod
    def write(self, path: Path, records: Records, metadata: dict[str, str]) -> None:
        """Write records and metadata."""

    @abstractmethod
    def read(self, path: Path) -> tuple[Records, dict[str, str]]:
        """Read records and metadata. Raises ValueError naming the file if it is missing or damaged."""

    @abstractmethod
    def concatenate(self, parts: Sequence[Records]) -> Records:
        """Join the records of consecutive images."""


class ParquetShards(ShardFormat[pa.Table]):
    """Tables as parquet."""

    suffix = "parquet"

    def write(self, path: Path, records: pa.Table, metadata: dict[str, str]) -> None:
        save_table(path, records.combine_chunks().replace_schema_metadata(metadata))

    def read(self, path: Path) -> tuple[pa.Table, dict[str, str]]:
        table = read_table(path)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        return table.replace_schema_metadata(None), metadata

    def concatenate(self, parts: Sequence[pa.Table]) -> pa.Table:
        return pa.concat_tables(parts)


class SafetensorsShards(ShardFormat[dict[str, Tensor]]):
    """Named tensors as safetensors."""

    suffix = "safetensors"

    def write(self, path: Path, records: dict[str, Tensor], metadata: dict[str, str]) -> None:
        save_file({name: tensor.contiguous() for name, tensor in records.items()}, path, metadata)

    def read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            with safe_open(path, "pt") as stored:
                return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is missing or not a whole safetensors file: {error}") from error

    def concatenate(self, parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
