"""Evidence for one class over another, by timestep and by region of the latent, as data and as a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Explanation:
    """The evidence for class `winner` over class `rival` on one image, in units of the loss.

    `evidence` [M, h, w] is the rival's error minus the winner's at every timestep `t` [M] (rising) and place of the
    latent, averaged over its channels, times w(t) / mean w: positive where the winner predicts the noise better. Its
    mean is the difference of the two weighted mean errors. `image` is what the model sees, uint8 [C, H, W].
    """

    winner: Any
    rival: Any
    t: np.ndarray
    evidence: np.ndarray
    image: np.ndarray

    @property
    def difference(self) -> float:
        """The rival's mean error minus the winner's: the mean of the evidence."""
        return float(self.evidence.mean())

    @property
    def by_timestep(self) -> np.ndarray:
        """The evidence at every timestep [M], whose mean is the difference."""
        return self.evidence.mean(axis=(1, 2))

    @property
    def by_region(self) -> np.ndarray:
        """The evidence at every place of the latent [h, w], whose mean is the difference."""
        return self.evidence.mean(axis=0)

    def figure(self) -> Figure:
        """Return a matplotlib figure: the image, the regions beside it, and the timesteps."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 2.8), layout="constrained")
        picture, regions, timesteps = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.6))
        shown, extent = self.image.transpose(1, 2, 0), (0, 1, 1, 0)
        grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if shown.shape[-1] == 1 else {}
        picture.imshow(shown, extent=extent, **grey)
        most = np.abs(self.by_region).max() or 1.0
        layer = regions.imshow(self.by_region, cmap="RdBu", vmin=-most, vmax=most, extent=extent)
        for axes in (picture, regions):
            axes.set_xticks([])
            axes.set_yticks([])
        figure.colorbar(layer, ax=regions, label="error difference")
        picture.set_title("image")
        regions.set_title("where")
        colours = ["#2166AC" if value > 0 else "#B2182B" for value in self.by_timestep]
        width = 0.8 * (np.diff(self.t).min() if len(self.t) > 1 else 100)
        timesteps.bar(self.t, self.by_timestep, width=width, color=colours)
        timesteps.axhline(0, color="black", linewidth=0.8)
        timesteps.set(title="when", xlabel="t (0: image, 999: noise)", xlim=(0, 1000))
        figure.suptitle(f"blue: for {self.winner}; red: for {self.rival}")
        return figure
