"""The committed table of FLOPs: methods at the paper's strengths on the paper's, today's and the embedded backbones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from bigain.core.files import whole_file
from bigain.measure.flops import architecture, count, prompt_tokens
from bigain.methods.ids import method_of, strength_of
from bigain.methods.method import Method
from bigain.methods.presets import METHODS

STRENGTHS: dict[str, list[float | int | None]] = {
    "none": [None],
    "merge_ratio": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
    "downsample_factor": [2, 3, 4, 5, 6, 7, 8],
}
# Table 6's layers, and the released code's double scoring, which Table 11 counts.
LAYERS = ("sa+ca", "sa+mlp", "sa+ca+mlp")
EXTRA = {
    "sd2": (*(f"{m}@{at}" for m in ("tome", "bigain_tm") for at in LAYERS), "bigain_tm_block~score_twice-on"),
    "dit_xl2": (),
    "mini_unet": (),
    "mini_dit": (),
    "mini_mmdit": (),
    "sd35_medium": (),
    "flux1_dev": (),
}
# What config/today.yaml runs, and all that is counted on its backbones, which takes seconds a row.
TODAY = ("sd35_medium", "flux1_dev")
TODAY_METHODS = ("none", "tome", "bigain_tm", "avg_pool", "todo", "bigain_td")
TODAY_STRENGTHS: dict[str, list[float | int | None]] = {**STRENGTHS, "downsample_factor": [2, 3, 4]}
FOLDERS = {  # of backbones not in `architectures/`
    "mini_unet": "resources/mini-unet",
    "mini_dit": "resources/mini-dit",
    "mini_mmdit": "resources/mini-mmdit",
}
U_NETS = ("sd2", "mini_unet")
COLUMNS = ("self_attention", "cross_attention", "feed_forward", "planning", "rest", "total")


def rows(backbone: str) -> Iterator[tuple[str, float | int | None]]:
    """List the methods and strengths that are counted on a backbone."""
    presets = TODAY_METHODS if backbone in TODAY else tuple(METHODS)
    strengths = TODAY_STRENGTHS if backbone in TODAY else STRENGTHS
    counted = [name for name in presets if _is_counted(METHODS[name], backbone)]
    for method in (*counted, *EXTRA[backbone]):
        for strength in strengths[method_of(method).strength_kind]:
            yield method, strength


def _is_counted(method: Method, backbone: str) -> bool:
    """Return whether a preset runs on a backbone, uncalibrated, and its operations do not depend on the image."""
    fits = method.blocks is None or backbone not in U_NETS
    return fits and method.acts_on != "model" and not method.depends_on_image


def row(backbone: str, method: str, strength: float | int | None) -> dict[str, str | float | int | None]:
    """Count one row of the table: GFLOPs by part to 0.001, and the fraction of keys and values that is left out."""
    name = FOLDERS.get(backbone, backbone)
    model = architecture(name)
    flops = count(model, method, tokens=prompt_tokens(name, model), **strength_of(method, strength)).as_dict()
    parts = {name: round(flops[name], 3) for name in COLUMNS}
    return {
        "backbone": backbone,
        "method": method,
        "strength": strength,
        **parts,
        "sparsity": round(flops["sparsity"], 4),
    }


def write(path: Path) -> None:
    """Count and write the whole table, which takes minutes."""
    cases = [(backbone, method, strength) for backbone in EXTRA for method, strength in rows(backbone)]
    table = pd.DataFrame([row(*case) for case in tqdm(cases, desc="flops")])
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
