"""Read from a denoiser's config file its token grid and where it has self-attention. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigain.core.places import located
from bigain.methods.method import Family, Method
from bigain.methods.places import NAMES, chosen
from bigain.study.weights import ABSENT, ARCHITECTURES, WeightsError, config_file, identity, read_mapping

# Blocks of a diffusers U-Net that hold transformer blocks; the defaults of diffusers for keys that a config lacks.
TRANSFORMERS = ("CrossAttnDownBlock2D", "UNetMidBlock2DCrossAttn", "CrossAttnUpBlock2D")
MIDDLE = "UNetMidBlock2DCrossAttn"
LAYERS: dict[str, dict[Family, int]] = {  # of transformers whose configs lack the key
    "num_layers": {"dit": 28, "mmdit": 18, "flux": 19},
    "num_single_layers": {"flux": 38},
}
MOST_LAYERS = 10_000
FLUX_GRID = (64, 64)  # of 1,024 pixels, the resolution of FLUX.1's autoencoder


@dataclass(frozen=True)
class Denoiser:
    """A denoiser as its config file describes it.

    `grid` is the height and width of its tokens at the highest resolution. `places` are the levels of a U-Net that have
    self-attention, or the block numbers of a transformer; `kinds` are its blocks by kind, as ids name them.
    """

    family: Family
    grid: tuple[int, int]
    places: tuple[int, ...]
    kinds: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def chosen(self, levels: Sequence[int] | None, blocks: Sequence[int] | str | None) -> tuple[int, ...]:
        """Return the places where a method acts. Errors are those of `bigain.methods.places.chosen`."""
        return chosen(self.family, self.places, levels, blocks, self.kinds)

    def grid_at(self, place: int) -> tuple[int, int]:
        """Return the height and width of the token grid at a level or in a block."""
        shift = place if self.family == "unet" else 0
        return self.grid[0] >> shift, self.grid[1] >> shift

    def check_layers(self, method: Method) -> None:
        """Raise ValueError for a method that the model's kind of attention rules out."""
        is_joint = self.family in ("mmdit", "flux")
        if method.needs_guidance and self.family == "flux":
            raise ValueError("it reads the guidance of a batch, but FLUX is guided by an input or in two passes")
        if method.depends_on_image and is_joint:
            raise ValueError("it leaves samples different numbers of tokens, which joint attention cannot take")
        if method.attention is not None and is_joint:
            raise ValueError("joint attention takes no mask, which would hold the sizes of groups")
        if "ca" in method.layers and method.depends_on_image:
            raise ValueError("it leaves samples different numbers of tokens; drop ca")
        if "ca" in method.layers and self.family != "unet":
            raise ValueError(f"{NAMES[self.family]} has no cross-attention to merge around; allowed are sa and mlp")


def denoiser_of(backbone: dict[str, Any]) -> Denoiser:
    """Read a backbone's config file, or that of its architecture while the weights are absent.

    Raises WeightsError naming the file if it is missing, or the key that does not describe a denoiser.
    """
    path, is_known = _described_in(backbone)
    if not path.is_file():
        raise WeightsError(
            f"{path} is missing: {backbone['path']} is not a diffusers pipeline of a {backbone['family']}"
        )
    settings, family = read_mapping(path), backbone["family"]
    if family == "unet":
        return Denoiser(family, _grid(settings, path), tuple(_levels(settings, path)))
    layers = _layers(settings, "num_layers", family, path)
    if family != "flux":
        dual = settings.get("dual_attention_layers") or ()
        return Denoiser(family, _grid(settings, path), tuple(range(layers)), {"dual": tuple(dual)} if dual else {})
    every = tuple(range(layers + _layers(settings, "num_single_layers", family, path)))
    grid = FLUX_GRID if is_known else _flux_grid(backbone)
    return Denoiser(family, grid, every, {"double": every[:layers], "single": every[layers:]})


def guided_by_null(backbone: dict[str, Any]) -> bool:
    """Return whether images are generated with a null half of guidance: not by FLUX that is distilled (the guidance is
    an input then) or whose guidance is 1."""
    if backbone["family"] != "flux":
        return True
    path, _ = _described_in(backbone)
    is_distilled = path.is_file() and bool(read_mapping(path).get("guidance_embeds"))
    return not is_distilled and backbone["guidance"] != 1


def _described_in(backbone: dict[str, Any]) -> tuple[Path, bool]:
    """Return the config file of a backbone's denoiser, and whether it is the package's for that architecture."""
    path = config_file(backbone)
    if not path.is_file() and backbone["architecture"] and identity(backbone) == ABSENT:
        return ARCHITECTURES / f"{backbone['architecture']}.json", True
    return path, False


def _flux_grid(backbone: dict[str, Any]) -> tuple[int, int]:
    """Return FLUX's token grid, a token for 2x2 places of a latent at the autoencoder's resolution."""
    path = located(backbone["path"]) / "vae" / "config.json"
    settings = read_mapping(path)
    size, blocks = settings.get("sample_size"), settings.get("block_out_channels")
    if type(size) is not int or not isinstance(blocks, list):
        raise WeightsError(f"{path}: sample_size {size!r:.50} and block_out_channels {blocks!r:.50} make no token grid")
    side = size // 2 ** len(blocks)
    return side, side


def _grid(settings: dict[str, Any], path: Path) -> tuple[int, int]:
    if "sample_size" not in settings:
        raise WeightsError(f"{path} has no sample_size, which determines the token grid")
    size, patch = settings["sample_size"], settings.get("patch_size") or 1
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or not all(type(length) is int and length > 0 for length in (*sides, patch)):
        raise WeightsError(f"{path}: sample_size {size!r} and patch_size {patch!r} do not make a token grid")
    return sides[0] // patch, sides[1] // patch


def _layers(settings: dict[str, Any], key: str, family: Family, path: Path) -> int:
    layers = settings.get(key, LAYERS[key][family])
    if type(layers) is not int or not 0 < layers <= MOST_LAYERS:
        raise WeightsError(f"{path}: {key} {layers!r:.50} is not a number of blocks from 1 to {MOST_LAYERS}")
    return layers


def _levels(settings: dict[str, Any], path: Path) -> list[int]:
    """Return the levels of a U-Net that have self-attention among tokens, 0 being the highest resolution."""
    for key in ("down_block_types", "up_block_types"):
        kinds = settings.get(key)
        if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
            raise WeightsError(f"{path}: {key} {kinds!r:.50} is not a list of blocks")
    if settings.get("dual_cross_attention"):
        return []
    return sorted({level for level, kind in _blocks(settings) if kind in TRANSFORMERS})


def _blocks(settings: dict[str, Any]) -> Iterator[tuple[int, str | None]]:
    """Yield the level and kind of every block of a U-Net: each down block but the last halves the resolution.

    Blocks whose tokens attend to the prompt only have no kind.
    """
    down, up = settings["down_block_types"], settings["up_block_types"]
    crossed = settings.get("only_cross_attention") or False
    crossed = crossed if isinstance(crossed, list) and len(crossed) == len(down) else [bool(crossed)] * len(down)
    yield from ((i, None if crossed[i] else kind) for i, kind in enumerate(down))
    yield len(down) - 1, settings.get("mid_block_type", MIDDLE)
    for i, kind in enumerate(up):
        level = len(down) - 1 - i
        yield level, None if level >= 0 and crossed[level] else kind  # a config may list more up blocks
