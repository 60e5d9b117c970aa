"""Read where in t the class is: accuracy at single timesteps of each backbone and data set, and under weights w(t)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bigain.core.records import read_table
from bigain.methods.ids import method_of
from bigain.reporting import names, style
from bigain.reporting.frames import at_strength, by_method, groups, optional

UNCOMPRESSED, UNIFORM = "none", "uniform"


@dataclass(frozen=True)
class CompressedArm:
    """A method at a strength; `rows` are its timesteps, with the paired differences from the uncompressed model."""

    method: str
    strength: float | None
    rows: pd.DataFrame

    @property
    def strength_label(self) -> str:
        """Its strength in print."""
        return names.strength(method_of(self.method).strength_kind, self.strength)

    @property
    def label(self) -> str:
        """Its method and strength in print."""
        return f"{method_of(self.method).label} {self.strength_label}".rstrip()

    @property
    def is_preset(self) -> bool:
        """True for a preset, False for a variant of one."""
        return style.preset(self.method) == self.method


@dataclass(frozen=True)
class TimestepProfile:
    """The rows of a backbone and data set in the file `timesteps` (columns.yaml), split by what they say.

    `uncompressed` are the uncompressed model's timesteps, rising; `arms` the compressed ones'; `weights` those of w(t).
    `left_out` has, for each timestep at which classes cannot be compared, the fewest that were tried for some image.
    `has_uncompressed` says whether the uncompressed model was classified at all.
    """

    backbone: str
    dataset: str
    classes: int
    uncompressed: pd.DataFrame
    arms: list[CompressedArm]
    weights: pd.DataFrame
    left_out: dict[int, int]
    has_uncompressed: bool

    @property
    def title(self) -> str:
        """Its backbone and data set in print."""
        return f"{self.backbone} ({self.dataset})"

    @property
    def images(self) -> str:
        """The number of images decided at a timestep, or its range if models differ."""
        counts = {int(n) for rows in (self.uncompressed, *(arm.rows for arm in self.arms)) for n in rows["images"]}
        return " to ".join(str(n) for n in dict.fromkeys((min(counts), max(counts)))) if counts else "0"


def read_profiles(files: list[Path]) -> list[TimestepProfile]:
    """Read the accuracy at single timesteps of every backbone and data set."""
    return [profile(rows) for _, rows in groups(read_rows(files), ["backbone", "dataset"])] if files else []


def read_rows(files: list[Path]) -> pd.DataFrame:
    """Read the rows of files of the kind `timesteps`, one below the other."""
    return pd.concat([read_table(file).to_pandas() for file in files], ignore_index=True)


def profile(rows: pd.DataFrame) -> TimestepProfile:
    """Split the rows of a backbone and data set."""
    at_timesteps, weights = rows[rows["weights"].isna()], rows[rows["weights"].notna()]
    decided = at_timesteps[at_timesteps["left_out"].isna()].sort_values("t")
    left_out = at_timesteps[at_timesteps["left_out"].notna()].groupby("t")["tried"].min()
    arms = [
        CompressedArm(method, optional(strength), at_strength(of_method, optional(strength)))
        for method, of_method in by_method(decided[decided["method"] != UNCOMPRESSED])
        for strength in sorted(of_method["strength"].unique())
    ]
    first = rows.iloc[0]
    return TimestepProfile(
        first["backbone"],
        first["dataset"],
        int(first["classes"]),
        decided[decided["method"] == UNCOMPRESSED],
        arms,
        weights,
        dict(zip(left_out.index.astype(int).tolist(), left_out.astype(int).tolist(), strict=True)),
        bool((rows["method"] == UNCOMPRESSED).any()),
    )
