"""The stages of a GPU run as data, most important first.

Limits are for what may go wrong: on a bare machine the first import takes a minute, and kernels are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench import tables
from bench.gpu import headlines, work
from bench.rounds import Row

Need = Literal["bfloat16", "compiler"]


@dataclass(frozen=True)
class Stage:
    """A question to a GPU, and what answers it."""

    name: str
    question: str
    rows: Callable[[work.Run], Iterator[Row]]
    limit: float  # seconds after which it is stopped
    least: float  # seconds that have to be left for it to start
    table: tables.Table
    headline: Callable[[list[Row]], str]  # its rows in a few words
    needs: tuple[Need, ...] = ()
    bound: str = ""  # what bounds its figures, where that is no column of its table


STAGES = (
    Stage(
        "environment",
        "Which card is this, and what can it reach?",
        *(work.environment, 120, 15, tables.valued, headlines.environment),
    ),
    Stage(
        "tests",
        "Do operators, draws and models agree with the CPU's?",
        *(work.tests, 180, 30, tables.valued, headlines.first),
    ),
    Stage(
        "study",
        "Does the workflow run on a GPU from config to page?",
        *(work.shrunken_study, 150, 60, tables.valued, headlines.study),
    ),
    Stage(
        "determinism",
        "Are errors, latents and features bit-identical when computed again, resumed, in other shards, by two jobs?",
        *(work.determinism, 120, 20, tables.repeated, headlines.determinism),
        bound="None may differ where the blocks are the same. Blocks that are cut elsewhere have other shapes.",
    ),
    Stage(
        "operators",
        "Where does the time of a compressed block go?",
        *(work.operators, 120, 20, tables.alone, headlines.operators, ("bfloat16",)),
        bound="At 8 x 4096 tokens a block's plan, reduce and restore may take 150 microseconds together, if bigain_tm "
        "at 0.7 is to keep 1.10 of its bound of 1.16 at 512 pixels.",
    ),
    Stage(
        "sd2",
        "How much faster do methods make SD 2.0 under SDPA, eager and as CUDA graphs, at 512, 768 and 1,024 pixels?",
        *(work.attention, 150, 25, tables.bounded, headlines.attention, ("bfloat16",)),
        bound="Bounds are counted operations of SD 2.0, for merging at 0.7 and 2x fewer keys and values.",
    ),
    Stage(
        "engine",
        "How fast is the classification engine beside the plain loop, and how much of the card does it use?",
        *(work.engine, 120, 40, tables.rated, headlines.engine, ("bfloat16",)),
        bound="Goals: 3 times the plain loop's speed, and 40% of the measured matrix product.",
    ),
    Stage(
        "sd2-compiled",
        "The same as sd2, under torch.compile?",
        *(work.compiled, 420, 120, tables.bounded, headlines.attention, ("bfloat16", "compiler")),
        bound="Bounds are counted operations of SD 2.0, for merging at 0.7 and 2x fewer keys and values.",
    ),
    Stage(
        "engine-compiled",
        "How much faster is the classification engine under torch.compile, without and with CUDA graphs?",
        *(work.compiled_engine, 300, 60, tables.rated, headlines.engine, ("bfloat16", "compiler")),
    ),
    Stage(
        "paper",
        "Do the paper's rules run on the true architectures in half precision?",
        *(work.paper, 240, 100, tables.valued, headlines.study),
    ),
    Stage(
        "embedded",
        "What do the embedded study's main cells show on all test images?",
        *(work.embedded, 1800, 90, tables.valued, headlines.study),
    ),
)
