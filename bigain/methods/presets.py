"""All methods, as data.

To add a method: one function in `bigain/tokens/`, registered in `OPERATORS` there, one preset below, one test.
An id may change a preset, as in `bigain_tm~score-l2_norm`; `bigain.methods.ids` reads such ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigain.methods.method import ByTask, Draw, Given, Linear, Method

CELL = (2, 2)  # tokens per cell, height x width (paper, B.3.1)
# The paper's alpha: 0.9 and 0.8 -> 1.2 on Stable Diffusion, 0.1 on DiT (B.3.2).
ALPHA = ByTask(unet_classification=0.9, unet_generation=Linear(start=0.8, end=1.2), dit=0.1)
ANY_PLACE = {"cell": CELL, "offsets": Draw.PLACES}
IE_KVD = {"alpha": ALPHA, "site": "nearest_exact"}
GATED = {"cell": CELL, "score": "laplacian_l1", "destinations": "cell_argmin", "protect": 0.0}
SHUFFLED = {"cell": CELL, "score": "laplacian_l1", "order": Draw.NORMALS}
WHOLE_CELLS = {"cell": CELL, "score": "laplacian_l1", "rule": "token_matched", "aggregate": "max", "score_twice": False}
TILES = {"tile": (4, 4), "scale": 1000.0}  # 256 tiles on the 64x64 tokens of SDXL at 1024x1024 pixels, as released
SPECTRA = {"cell": CELL, "rho": 0.6, "permute": "none", "offsets": Draw.PLACES}  # rho: 0.6 to 1 in its experiments
BLIND = {"cell": CELL, "integers": Draw.INTEGERS}
IMPORTANT = {**BLIND, "pool": 0.5, "importance": Given.GUIDANCE}
FUSION = {**ANY_PLACE, "depth": Given.DEPTH, "merges_from": 0.5}
SITO = {"cell": CELL, "similarity_weight": 1.0, "noise_weight": 0.1, "noise": Draw.NORMALS, "full_gram": True}
EXTREME = {"score": "laplacian_l1"}
# The three phases of denoising that MosaicDiff reports (fast learning from t = 200 to 600), and our damping of H.
PHASES = {"boundaries": (200, 600), "damping": 0.01}


def _merging(id: str, label: str, operator: str, options: Mapping[str, Any], **where: Any) -> Method:
    return Method(id, label, operator, "tokens", "merge_ratio", options, **where)


def _structural(id: str, label: str, options: Mapping[str, Any], **where: Any) -> Method:
    return Method(id, label, id, "model", "flops_reduction_percent", options, **where)


def _downsampling(id: str, label: str, operator: str, options: Mapping[str, Any], **where: Any) -> Method:
    return Method(id, label, operator, "keys_values", "downsample_factor", options, **where)


# Comments give the paper's Acc@1 with Stable Diffusion 2.0: at merge ratio 0.7 or factor 3 on Pets (Tables 1, 2, 4, 8),
# at factor 2 on ImageNet-100 (Table 12).
METHODS: dict[str, Method] = {
    preset.id: preset
    for preset in (
        Method("none", "no compression"),  # 81.03
        _merging("tome", "ToMe", "merge_random", ANY_PLACE),  # 65.76
        _merging("tome_fixed", "ToMe, top-left", "merge_top_left", {"cell": CELL}),  # ours: no randomness
        _merging("tome_shared", "ToMe, shared", "merge_random", ANY_PLACE, draws_per="noised_image"),  # ours
        _merging("sito", "SiTo", "prune_similar", SITO, draws_per="noised_image"),  # 68.84
        _merging("bigain_tm", "BiGain_TM", "merge_smooth", GATED),  # 74.63
        _merging("bigain_tm_cached", "BiGain_TM, cached", "merge_smooth", GATED, plan_for="stage"),
        _merging(
            "bigain_tm_shuffled", "BiGain_TM, shuffled", "merge_shuffled", SHUFFLED, draws_per="noised_image"
        ),  # ours
        _merging("bigain_tm_block", "BiGain_TM, block", "merge_cells", WHOLE_CELLS),
        _merging("toma", "ToMA", "merge_tiles", TILES),
        Method("ca_tome", "CA-ToMe", "merge_above", "tokens", "threshold", ANY_PLACE, draws_per="noised_image"),
        _merging("fourier_tm", "Fourier TM", "merge_fourier", SPECTRA, draws_per="noised_image"),
        _merging("random_plan", "random plan", "merge_blindly", BLIND, draws_per="noised_image"),  # ours
        _merging("best_plan", "best of k plans", "merge_best", {**BLIND, "k": 8}, draws_per="noised_image"),  # ours
        _merging("tofu", "ToFu", "fuse", FUSION, draws_per="noised_image"),
        _merging("importance_tm", "importance TM", "merge_unimportant", IMPORTANT, draws_per="noised_image"),
        _downsampling("avg_pool", "average pooling", "average", {}),  # 73.45
        _downsampling("todo", "ToDo", "nearest", {"site": "nearest_exact"}),  # 79.15; 72.30
        _downsampling("pixart_kv", "PixArt KV", "nearest", {"site": "top_left"}, blocks="15_28"),
        _downsampling("bigain_td", "BiGain_TD", "interpolate_extrapolate", IE_KVD),  # 79.91
        _downsampling("kv_high_frequency", "high-frequency keys", "most_detailed", EXTREME),  # 26.56
        _downsampling("kv_low_frequency", "low-frequency keys", "smoothest", EXTREME),  # 45.58
        _structural("dip_go", "DiP-GO", {"gates": "searched"}, noise_per="image"),  # 76.53 at 10% fewer operations
        _structural("mosaicdiff", "MosaicDiff", PHASES),  # 77.38 at 10% fewer operations
    )
}
