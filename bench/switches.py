"""Count how often the released code's switches choose the paper's destination: `python -m bench.switches`.

The share of cells with the same destination, on the tokens that reach the embedded U-Net's compressed blocks at three
timesteps of 20 committed images. Chance is one in four.
"""

from __future__ import annotations

from pathlib import Path

import torch

import bigain
from bigain.backbones.images import to_float
from bigain.backbones.unet import StableDiffusion
from bigain.classifier.noise import keyed_noise
from bigain.compression.token_attachment import TokenAttachment
from bigain.datasets import load
from bigain.datasets.photos import crops
from bigain.tokens import TokenGrid, matching
from bigain.tokens.scores import SCORES

IMAGES, TIMESTEPS, CELL = 20, (125, 525, 925), (2, 2)
SWITCHES = {
    "official_v1": lambda x, grid: matching.official_v1(SCORES["laplacian_l1"](x, grid), grid, CELL),
    "laplacian_l2": lambda x, grid: matching.cell_argmin(SCORES["laplacian_l2"](x, grid), grid, CELL),
    "top-left": lambda x, grid: matching.top_left(grid, CELL).expand(len(x), -1),
}


@torch.inference_mode()
def main() -> None:
    """Print the agreement with bigain_tm's destinations, and that of the two DFT amplitudes, by timestep."""
    backbone = StableDiffusion(Path("resources/mini-unet"), "cpu", "float32")
    dataset = load({"reader": "fashion", "path": "resources/fashion"}).first(IMAGES)
    latents = backbone.encode_images(to_float(crops(dataset, range(IMAGES), size=32, channels=1)))
    conditions = backbone.conditions(list(dataset.captions), [])
    for t in TIMESTEPS:
        agreement: dict[str, list[float]] = {name: [] for name in (*SWITCHES, "dft_amplitude without DC")}

        def compare(x: torch.Tensor, grid: TokenGrid, shares: dict[str, list[float]] = agreement) -> None:
            ours = matching.cell_argmin(SCORES["laplacian_l1"](x, grid), grid, CELL)
            for name, chosen in SWITCHES.items():
                shares[name].append((chosen(x, grid) == ours).float().mean().item())
            both = [SCORES[name](x, grid) for name in ("dft_amplitude", "dft_amplitude_without_dc")]
            first, second = (matching.cell_argmin(scores, grid, CELL) for scores in both)
            shares["dft_amplitude without DC"].append((first == second).float().mean().item())

        eps = torch.stack([keyed_noise(0, image, t, tuple(latents.shape[1:])) for image in dataset.ids])
        alpha_bar = backbone.alphas_bar[t]
        x_t = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * eps
        with bigain.compressed(backbone.denoiser, "bigain_tm", ratio=0.7) as at:
            assert isinstance(at, TokenAttachment)
            operator = at.operator

            def compared(x, grid, *args, operator=operator, compare=compare, **kwargs):  # noqa: ANN001, ANN002, ANN003, ANN202
                compare(x, grid)
                return operator(x, grid, *args, **kwargs)

            at.operator = compared
            backbone.predict_noise(x_t, torch.full((IMAGES,), t), conditions)
        print(f"t = {t}: " + ", ".join(f"{name} {100 * sum(v) / len(v):.1f}%" for name, v in agreement.items()))


if __name__ == "__main__":
    main()
