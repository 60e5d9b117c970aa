"""Read what a cell's jobs recorded beside their results, and write the cell's metrics file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bigain.core.provenance import (
    InputFile,
    ResultError,
    as_input,
    checked,
    encoding_digest,
    provenance_file,
    read_provenance,
    write_sealed,
)
from bigain.core.records import distinct, summaries
from bigain.core.specs import ScoreSpec
from bigain.core.validation import validate

# Schemas of the keys of a chunk's provenance that scoring reads.
PROVENANCE = {
    "inputs": {"type": "object", "additionalProperties": {"type": "object"}},
    "seconds": {"type": "number"},
    "compressed": {"type": "array"},
    "environments": {"type": "array", "items": {"type": "object"}},
}
CUT_OFF = {  # only if there are any
    "cut_off": {
        "type": "object",
        "required": ["positions", "after"],
        "properties": {"positions": {"type": "array", "items": {"type": "integer"}}, "after": {"type": "integer"}},
    },
}


def read_chunk_provenance(spec: ScoreSpec, chunks: list[Path]) -> list[dict[str, Any]]:
    """Return the provenance of every chunk.

    Raises ResultError for a chunk that is damaged, of another spec, or computed from inputs of other specs than now.
    """
    every = []
    for chunk, expected in zip(chunks, spec["chunks"], strict=True):
        provenance = checked(chunk, expected)
        file = provenance_file(chunk)
        validate(file, provenance, PROVENANCE | (CUT_OFF if "cut_off" in provenance else {}))
        for name, digest in spec["inputs"].items():
            if _input_digest(provenance["inputs"].get(name, {}), digest) != digest:
                raise ResultError(chunk, "outdated", f"was computed from {name} of other settings or code than now")
        summaries(file, provenance["environments"])
        every.append(provenance)
    return every


def prompts_cut_off(spec: ScoreSpec, provenance: list[dict[str, Any]]) -> tuple[int, str] | None:
    """Return how many classes or images have a prompt that the model does not read to its end, and what is wrong with
    it; None if there are none."""
    parts = [chunk["cut_off"] for chunk in provenance if "cut_off" in chunk]
    if not parts:
        return None
    positions = {position for part in parts for position in part["positions"]}
    return len(positions), f"longer than the {parts[0]['after']} tokens that {spec['cell']['backbone']} reads"


def _input_digest(recorded: dict[str, Any], expected: str) -> str | None:
    """Return the digest of the spec of an input of a chunk, as `ScoreSpec.inputs` has it.

    Older chunks recorded it with how many images were encoded. It is then read from the input, if that is still the
    same file.
    """
    if recorded.get("spec") == expected or "file" not in recorded:
        return recorded.get("spec")
    with suppress(ResultError):
        provenance = read_provenance(recorded["file"])
        if provenance.get("sha256") == recorded.get("sha256"):
            return encoding_digest(provenance["spec"])
    return recorded.get("spec")


def write_metrics(
    output: Path,
    spec: ScoreSpec,
    scores: dict[str, Any],
    chunks: list[Path],
    provenance: list[dict[str, Any]],
    inputs: dict[str, InputFile],
) -> None:
    """Write a metrics file, with what the provenance of its chunks says; print what was left out and all warnings."""
    for heading in ("left_out", "warnings"):
        for name, reason in scores[heading].items():
            print(f"{heading.replace('_', ' ')}: {name}: {reason}")
    content = {
        "spec": spec,
        "inputs": {
            **inputs,
            **{file.stem: as_input(file, chunk) for file, chunk in zip(chunks, provenance, strict=True)},
        },
        "cell": spec["cell"],
        **scores,
        "metrics": {name: asdict(estimate) for name, estimate in scores["metrics"].items()},
        "seconds": sum(chunk["seconds"] for chunk in provenance),
        "compressed": provenance[0]["compressed"],
        "environments": distinct(environment for chunk in provenance for environment in chunk["environments"]),
    }
    write_sealed(output, content)
