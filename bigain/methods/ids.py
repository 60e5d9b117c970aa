"""Method ids that change a preset: `bigain_tm@sa+mlp` merges around other layers too (Table 6), and
`bigain_tm~score-l2_norm~cell-4x4` sets options. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from bigain.core.messages import unknown
from bigain.methods.method import Linear, Method, Option
from bigain.methods.options import Strength
from bigain.methods.presets import METHODS

# Names that stand for several ids in a config. `official`: what the paper's released code computes.
GROUPS: dict[str, tuple[str, ...]] = {
    "official": (
        "none",
        "tome",
        "sito",
        "bigain_tm~destinations-official_v1",
        "bigain_tm~destinations-official_v1~plan_for-model",
        "bigain_tm_block~score_twice-on",
        "avg_pool~skip_t0-on",
        "todo~skip_t0-on",
        "bigain_td~skip_t0-on",
    )
}


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(unknown("value", text, names))
        return text

    return read


def _cell(text: str) -> tuple[int, int]:
    height, width = (int(part) for part in text.split("x"))
    if min(height, width) < 1 or height * width < 2:
        raise ValueError("a cell needs at least two tokens")
    return height, width


def _fraction(text: str) -> float:
    if not 0 <= float(text) < 1:
        raise ValueError("allowed are fractions from 0 to below 1")
    return float(text)


def _alpha(text: str) -> float | Linear:
    start, to, end = text.partition("to")
    return Linear(float(start), float(end)) if to else float(start)


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(number) for number in text.split("+")}))


PARTS = ("first_12", "1_6", "7_12")  # parts of a DiT that the paper compares (B.3.1), counted from 1 in 28 blocks


def _blocks(text: str) -> tuple[int, ...] | str:
    return text if text in PARTS else _numbers(text)


SCORE_NAMES = (
    "global_mean_deviation",
    "l1_norm",
    "l2_norm",
    "channel_variance",
    "laplacian_l1",
    "laplacian_l2",
    "dft_centroid",
    "dft_amplitude",
    "dft_amplitude_without_dc",
    "cosine_to_neighbours",
    "cosine_to_mean",
)

# What an id can change, with the reader of its value. A method has those it has as options, and `FIELDS`.
VARIANTS: dict[str, Callable[[str], Option]] = {
    "score": _one_of(*SCORE_NAMES),
    "cell": _cell,
    "destinations": _one_of("cell_argmin", "official_v1"),
    "protect": _fraction,
    "rule": _one_of("token_matched", "tile_fraction", "quantile"),
    "aggregate": _one_of("max", "mean"),
    "alpha": _alpha,
    "score_twice": _switch,
    "full_gram": _switch,
    "site": _one_of("nearest_exact", "top_left", "cell_centre"),
    "plan_for": _one_of("block", "stage", "model"),
    "levels": _numbers,
    "blocks": _blocks,
    "gates": _one_of("searched", "trained"),
    "noise": lambda text: {"fresh": "timestep", "shared": "image"}[_one_of("fresh", "shared")(text)],
    "skip_t0": _switch,
    "clamp": _switch,
}
# The variants that are no option of the operator, by what a method acts on.
FIELDS = {
    "nothing": ("noise",),
    "keys_values": ("skip_t0", "levels", "blocks"),
    "tokens": ("skip_t0", "clamp", "plan_for", "levels", "blocks"),
    "model": (),
}
FIELD_NAMES = {"noise": "noise_per"}  # of the options that a field of `Method` has another name for
LAYERS = ("sa", "ca", "mlp")
# Changes that turn one preset into another: of BiGain_TM without a score that picks destinations, ToMe is left.
SAME_AS = {
    ("bigain_tm", "destinations-top_left"): "tome_fixed",
    ("bigain_tm", "destinations-random"): "tome",
    ("bigain_tm", "plan_for-stage"): "bigain_tm_cached",
    ("bigain_tm_cached", "plan_for-block"): "bigain_tm",
}


@cache
def method_of(name: str) -> Method:
    """The method of that id, with its variants, under its shortest id: `tome@sa` is `tome`, and so is
    `bigain_tm~destinations-random`.

    Raises ValueError with a suggestion if there is none.
    """
    head, *changes = name.split("~")
    base, at, layers = head.partition("@")
    if base not in METHODS:
        raise ValueError(unknown("method", base, METHODS))
    for (preset, change), same in SAME_AS.items():
        if base == preset and change in changes:
            base = same
            changes.remove(change)
    chosen = METHODS[base]
    if at:
        chosen = _at_layers(name, chosen, layers.split("+"))
    for change in sorted(changes):
        option, _, text = change.partition("-")
        chosen = _changed(name, chosen, option, text)
    return chosen


def _at_layers(name: str, base: Method, layers: list[str]) -> Method:
    if base.acts_on != "tokens":
        raise ValueError(f"{name}: only merging methods can act on other layers than self-attention")
    wrong = [layer for layer in layers if layer not in LAYERS]
    if wrong or "sa" not in layers or len(set(layers)) < len(layers):
        raise ValueError(f"{name}: layers are sa, always, and ca and mlp, each once, joined by +")
    if layers == ["sa"]:
        return base
    ordered = "+".join(layer for layer in LAYERS if layer in layers)
    label = f"{base.label} ({ordered.upper()})"
    return replace(base, id=f"{base.id}@{ordered}", label=label, layers=tuple(ordered.split("+")))


def _changed(name: str, base: Method, option: str, text: str) -> Method:
    fields = FIELDS[base.acts_on]
    allowed = [one for one in (*base.options, *fields) if one in VARIANTS]
    if not allowed:
        raise ValueError(f"{name}: {base.id} has no options to change")
    if option not in allowed:
        raise ValueError(f"{name}: " + unknown("option", option, allowed))
    try:
        value = VARIANTS[option](text)
    except ValueError as error:
        raise ValueError(f"{name}: {option} cannot be {text!r}: {error}") from None
    field = FIELD_NAMES.get(option, option)
    if value == (getattr(base, field) if option in fields else base.options[option]):
        return base
    changed = replace(base, id=f"{base.id}~{option}-{text}", label=f"{base.label} ({option.replace('_', ' ')}: {text})")
    if option in fields:
        return replace(changed, **{field: value})
    return replace(changed, options={**base.options, option: value})


def strength_of(method_id: str, strength: float | None) -> Strength:
    """Return a method's strength as an option of `apply`: `ratio`, `factor`, or neither for "none" and for structural
    methods, whose strength is in their calibration."""
    kind = method_of(method_id).strength_kind
    if kind == "merge_ratio":
        return {"ratio": strength}
    if kind == "downsample_factor" and strength is not None:
        return {"factor": int(strength)}
    return {}
