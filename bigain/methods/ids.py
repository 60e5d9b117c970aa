"""Method ids that change a preset: `bigain_tm@sa+mlp` also merges around other layers (Table 6), and
`bigain_tm~score-l2_norm~cell-4x4` sets options. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

from bigain.core.messages import unknown
from bigain.methods import outside
from bigain.methods.method import Linear, Method
from bigain.methods.options import Strength
from bigain.methods.places import NAMED
from bigain.methods.presets import METHODS
from bigain.methods.schedules import checked_window

DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
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


def _number(text: str) -> float:
    """Read a decimal number in its shortest spelling, so that equal methods have equal ids."""
    if not DECIMAL.fullmatch(text):
        raise ValueError("allowed are decimal numbers, as 0.5")
    if text != (shortest := f"{Decimal(text).normalize() + 0:f}"):  # + 0: without the sign of -0
        raise ValueError(f"write it as {shortest}")
    return float(text)


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or text != str(int(text)):
        raise ValueError("allowed are whole numbers without leading zeros")
    return int(text)


def _cell(text: str) -> tuple[int, int]:
    height, width = (_whole(part) for part in text.split("x"))
    if min(height, width) < 1 or height * width < 2:
        raise ValueError("a cell needs at least two tokens")
    return height, width


def _fraction(text: str) -> float:
    if not 0 <= (number := _number(text)) < 1:
        raise ValueError("allowed are fractions from 0 to below 1")
    return number


def _closed_fraction(text: str) -> float:
    if not 0 <= (number := _number(text)) <= 1:
        raise ValueError("allowed are fractions from 0 to 1")
    return number


def _count(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise ValueError("allowed are whole numbers from 1")
    return number


def _share(text: str) -> float:
    if not 0 < (number := _number(text)) <= 1:
        raise ValueError("allowed are fractions above 0, up to 1")
    return number


def _alpha(text: str) -> float | Linear:
    start, to, end = text.partition("to")
    if to and start == end:
        raise ValueError(f"write it as {start}")
    return Linear(_number(start), _number(end)) if to else _number(start)


def _linear(text: str) -> Linear:
    value = _alpha(text)
    if not isinstance(value, Linear):
        raise ValueError("allowed are the values at t = 999 and at t = 0, as in 1.2to0.8")
    if min(value.start, value.end) < 0:
        raise ValueError("a factor of the ratio is at least 0")
    return value


def _window(text: str) -> tuple[float, float]:
    first, to, last = text.partition("to")
    if not to:
        raise ValueError("allowed are the first and the last timestep, as in 900to200")
    return checked_window(_number(first), _number(last))


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = [_whole(part) for part in text.split("+")]
    except ValueError:
        numbers = []
    if not numbers or numbers != sorted(set(numbers)):
        raise ValueError("allowed are whole numbers from 0 in ascending order, each once, joined by +")
    return tuple(numbers)


def _noise(text: str) -> str:
    return {"fresh": "timestep", "shared": "image"}[_one_of("fresh", "shared")(text)]


def _blocks(text: str) -> tuple[int, ...] | str:
    return text if text in NAMED else _numbers(text)


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

# Readers of the operator options that an id can change, in methods that have them.
OPTIONS: dict[str, Callable[[str], Any]] = {
    "score": _one_of(*SCORE_NAMES),
    "cell": _cell,
    "tile": _cell,
    "rho": _share,
    "permute": _one_of("none", "channels"),
    "k": _count,
    "pool": _share,
    "merges_from": _closed_fraction,
    "destinations": _one_of("cell_argmin", "cell_argmax", "official_v1"),
    "protect": _fraction,
    "rule": _one_of("token_matched", "tile_fraction", "quantile"),
    "aggregate": _one_of("max", "mean"),
    "alpha": _alpha,
    "score_twice": _switch,
    "full_gram": _switch,
    "site": _one_of("nearest_exact", "top_left", "cell_centre"),
    "gates": _one_of("searched", "trained"),
}
# The fields of `Method` that an id can change: by their name in the id, the field and the reader of its value.
FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "plan_for": ("plan_for", _one_of("block", "stage", "model")),
    "levels": ("levels", _numbers),
    "blocks": ("blocks", _blocks),
    "noise": ("noise_per", _noise),
    "skip_t0": ("skip_t0", _switch),
    "clamp": ("clamp", _switch),
    "timesteps": ("timesteps", _window),
    "ratio_times": ("ratio_times", _linear),
    "attention": ("attention", _one_of("proportional")),
}
# Of these, the ones that apply, by what a method acts on.
APPLICABLE_FIELDS: dict[str, tuple[str, ...]] = {
    "nothing": ("noise",),
    "keys_values": ("skip_t0", "timesteps", "levels", "blocks"),
    "tokens": ("skip_t0", "timesteps", "ratio_times", "attention", "clamp", "plan_for", "levels", "blocks"),
    "model": (),
}
OF_A_RATIO = ("ratio_times", "clamp")  # fields that change a merge ratio
LAYERS = ("sa", "ca", "mlp")
# Changes that turn one preset into another: BiGain_TM without a score to pick destinations is ToMe, and a random rule
# has a preset of its own, which says what is drawn.
SAME_AS: dict[tuple[str, str], str] = {
    ("bigain_tm", "destinations-top_left"): "tome_fixed",
    ("bigain_tm", "destinations-random"): "tome",
    ("bigain_tm", "destinations-shuffled"): "bigain_tm_shuffled",
    ("bigain_tm", "plan_for-stage"): "bigain_tm_cached",
    ("bigain_tm_cached", "plan_for-block"): "bigain_tm",
}


def method_of(name: str) -> Method:
    """Return the method of an id, under its shortest id: both `tome@sa` and `bigain_tm~destinations-random` are `tome`.

    This includes methods that `bigain.add_methods` added. Raises ValueError, with a suggestion, for an id that names
    no method.
    """
    return _method_of(name, outside.revision())


@cache
def _method_of(name: str, revision: int) -> Method:
    presets = {**METHODS, **{id: added.method for id, added in outside.registered().items()}}
    head, *changes = name.split("~")
    preset, at, layers = head.partition("@")
    if preset not in presets:
        raise ValueError(unknown("method", preset, presets))
    for (before, change), after in SAME_AS.items():
        if preset == before and change in changes:
            preset = after
            changes.remove(change)
    method = presets[preset]
    if at:
        method = _at_layers(name, method, layers.split("+"))
    named = [change.partition("-")[0] for change in changes]
    if repeated := next((option for option in named if named.count(option) > 1), None):
        raise ValueError(f"{name}: {repeated} stands in it twice")
    for change in sorted(changes):
        option, _, text = change.partition("-")
        method = _changed(name, method, option, text)
    return method


def options_of(method: Method) -> list[str]:
    """Return what `~` can change in a method's id: options of its operator, then fields of the method."""
    fields = APPLICABLE_FIELDS[method.acts_on]
    if method.acts_on == "tokens" and method.strength_kind != "merge_ratio":
        fields = tuple(field for field in fields if field not in OF_A_RATIO)
    left_out = {
        "prune_similar": ("attention",),  # pruned tokens are in no group
        "fuse": ("attention", "plan_for"),  # likewise in blocks that prune; and blocks differ in what they do
    }.get(method.operator, ())
    fields = tuple(field for field in fields if field not in left_out)
    return [*(option for option in method.options if option in OPTIONS), *fields]


def _at_layers(name: str, base: Method, layers: list[str]) -> Method:
    if base.acts_on != "tokens":
        raise ValueError(f"{name}: only merging methods can act on other layers than self-attention")
    wrong = [layer for layer in layers if layer not in LAYERS]
    if wrong or "sa" not in layers or len(set(layers)) < len(layers):
        raise ValueError(f"{name}: layers must include sa, may include ca and mlp once each, and are joined by +")
    if layers == ["sa"]:
        return base
    ordered = "+".join(layer for layer in LAYERS if layer in layers)
    label = f"{base.label} ({ordered.upper()})"
    return replace(base, id=f"{base.id}@{ordered}", label=label, layers=tuple(ordered.split("+")))


def _changed(name: str, base: Method, option: str, text: str) -> Method:
    fields = {field: FIELDS[field] for field in APPLICABLE_FIELDS[base.acts_on]}
    allowed = options_of(base)
    if not allowed:
        raise ValueError(f"{name}: {base.id} has no options to change")
    if option not in allowed:
        raise ValueError(f"{name}: " + unknown("option", option, allowed))
    field, read = fields[option] if option in fields else ("options", OPTIONS[option])
    try:
        value = read(text)
    except ValueError as error:
        raise ValueError(f"{name}: {option} cannot be {text!r}: {error}") from None
    if value == (base.options[option] if field == "options" else getattr(base, field)):
        return base
    change: dict[str, Any] = {field: {**base.options, option: value} if field == "options" else value}
    label = f"{base.label} ({option.replace('_', ' ')}: {text})"
    return replace(base, id=f"{base.id}~{option}-{text}", label=label, **change)


def strength_of(method_id: str, strength: float | None) -> Strength:
    """Return a method's strength as an option of `apply`: `ratio`, `threshold`, `factor`, or none of them for "none"
    and for structural methods, whose strength is in their calibration."""
    kind = method_of(method_id).strength_kind
    if kind == "merge_ratio":
        return {"ratio": strength}
    if kind == "threshold":
        return {"threshold": strength}
    if kind == "downsample_factor" and strength is not None:
        return {"factor": int(strength)}
    return {}
