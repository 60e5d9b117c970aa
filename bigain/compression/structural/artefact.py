"""The file of a calibration: tensors and their description, in safetensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigain.core.files import whole_file

KEY = "calibration"


@dataclass(frozen=True)
class Calibration:
    """The outcome of calibrating a structural method on one model.

    `about` holds at least the `method`, the `reduction_percent` asked for and the `reached_percent`, both of the
    model's `operations`.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        with whole_file(path) as temporary:
            tensors = {name: tensor.contiguous().cpu() for name, tensor in self.tensors.items()}
            save_file(tensors, temporary, {KEY: json.dumps(self.about, sort_keys=True)})

    @staticmethod
    def load(path: Path | str, method_id: str) -> Calibration:
        """Read a file. Raises ValueError naming it if it is missing, damaged or for another method."""
        try:
            with safe_open(path, "pt") as stored:
                about = json.loads((stored.metadata() or {})[KEY])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
        except (FileNotFoundError, SafetensorError, KeyError) as error:
            raise ValueError(f"{path} is missing or not a calibration of `bigain calibrate`: {error}") from error
        if about["method"] != method_id:
            raise ValueError(f"{path} is a calibration of {about['method']}, not of {method_id}")
        return Calibration(tensors, about)
