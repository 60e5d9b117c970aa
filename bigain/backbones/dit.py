"""DiT: a class-conditioned diffusion transformer (`mini_dit`, `dit_xl2`), sampled with DDIM (B.2.2)."""

from __future__ import annotations

from functools import cached_property

import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.class_names import of_folder

NULL_CLASS = 1000  # as hard-coded in diffusers' DiTPipeline


class DiT(Backbone):
    """A `DiTPipeline` folder. Of the output only epsilon (or v) is used, not the learned sigma."""

    conditioned_on = "class ids"
    folder, family = "transformer", "dit"

    @cached_property
    def denoiser(self) -> DiTTransformer2DModel:
        return self.load_part(DiTTransformer2DModel, "transformer")

    @cached_property
    def scheduler(self) -> DDIMScheduler:
        return self.checked(self.load_scheduler(DDIMScheduler))

    @property
    def classes(self) -> dict[int, str]:
        """The model's classes by id, without the null class, with their names, empty where it states none."""
        return self.class_names() or dict.fromkeys(range(self.config_of(self.folder)["num_embeds_ada_norm"]), "")

    def class_names(self) -> dict[int, str]:
        """Return the classes that the folder states, by id; none if it states none."""
        return of_folder(self.path)

    def conditions(self, prompts: list[str], class_ids: list[int]) -> Tensor:
        """Return the class ids [K]."""
        return torch.tensor(class_ids)

    def null_condition(self) -> Tensor:
        return torch.tensor([NULL_CLASS])

    def predict(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        output = self.denoiser(x_t, timestep=t.expand(len(x_t)), class_labels=conditions, return_dict=False)[0]
        return output[:, : x_t.shape[1]]
