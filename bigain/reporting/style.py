"""The look of every figure: colours, markers that tell methods apart in grey, and how figures are saved."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from bigain.core.files import whole_file
from bigain.methods.ids import method_of

# Okabe-Ito with a darker yellow, distinguishable with any colour vision; related methods share a colour and differ in
# their markers.
COLOURS = {
    "none": "#000000",
    "tome": "#999999",
    "tome_fixed": "#56B4E9",
    "tome_shared": "#999999",
    "sito": "#CC79A7",
    "bigain_tm": "#0072B2",
    "bigain_tm_cached": "#0072B2",
    "bigain_tm_shuffled": "#0072B2",
    "bigain_tm_block": "#0072B2",
    "toma": "#CC79A7",
    "ca_tome": "#999999",
    "fourier_tm": "#999999",
    "random_plan": "#56B4E9",
    "best_plan": "#56B4E9",
    "tofu": "#CC79A7",
    "importance_tm": "#999999",
    "avg_pool": "#B5A900",
    "todo": "#E69F00",
    "pixart_kv": "#E69F00",
    "bigain_td": "#D55E00",
    "kv_low_frequency": "#009E73",
    "kv_high_frequency": "#009E73",
    "dip_go": "#56B4E9",
    "mosaicdiff": "#CC79A7",
}
MARKERS = {
    "none": "*",
    "tome": "o",
    "tome_fixed": "o",
    "tome_shared": "v",
    "sito": "X",
    "bigain_tm": "s",
    "bigain_tm_cached": "D",
    "bigain_tm_shuffled": "v",
    "bigain_tm_block": "P",
    "toma": "p",
    "ca_tome": "<",
    "fourier_tm": ">",
    "random_plan": "x",
    "best_plan": "+",
    "tofu": "<",
    "importance_tm": "D",
    "avg_pool": "^",
    "todo": "o",
    "pixart_kv": "d",
    "bigain_td": "s",
    "kv_low_frequency": "v",
    "kv_high_frequency": "^",
    "dip_go": "d",
    "mosaicdiff": "h",
}


ADDED = ("#666666", "o")  # of methods from outside
LARGE = 2_000_000  # pixels of a figure; larger ones are stored with a palette, so that a page of many stays small


def colour(preset: str) -> str:
    """Return the colour of a preset."""
    return COLOURS.get(preset, ADDED[0])


def marker(preset: str) -> str:
    """Return the marker of a preset."""
    return MARKERS.get(preset, ADDED[1])


def look() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn with the report's settings."""
    return plt.rc_context({"font.size": 8, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False})


def preset(method: str) -> str:
    """Return the preset that a method varies."""
    return method.split("~")[0].split("@")[0]


def label(method: str) -> str:
    """Return a method's label, with its subscript as mathtext."""
    return method_of(method).label.replace("_TM", r"$_\mathrm{TM}$").replace("_TD", r"$_\mathrm{TD}$")


def save(figure: plt.Figure, pdf: Path, png: Path) -> None:
    """Write a figure as PDF and PNG; the same figure gives the same bytes."""
    with whole_file(pdf) as temporary:
        figure.savefig(temporary, format="pdf", metadata={"CreationDate": None}, bbox_inches="tight")
    with whole_file(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
        with Image.open(temporary) as image:
            if image.width * image.height > LARGE:
                _in_few_colours(image).save(temporary, format="png")
    plt.close(figure)


def _in_few_colours(image: Image.Image) -> Image.Image:
    """Return a drawing with a palette of 256 colours, in which white, the background, stays white.

    An octree keeps the colours of methods that are drawn once; a median cut merges them into greys.
    """
    drawn = image.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = np.array(drawn.getpalette()).reshape(-1, 3)
    palette[(palette >= 250).all(axis=1)] = 255  # the octree drops the lowest bits
    drawn.putpalette(palette.ravel().tolist())
    return drawn


def message(text: str) -> plt.Figure:
    """Return a figure that says why there is nothing to show."""
    figure = plt.figure(figsize=(5, 1))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
