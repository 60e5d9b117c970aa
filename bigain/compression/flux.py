"""FLUX: its token grid, and its single-stream blocks, whose attention and MLP run side by side."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bigain.compression.hooks import Args, Hook, Kwargs, parameter_names
from bigain.compression.merging import MergeAttentionHook, MergeHook
from bigain.compression.token_attachment import TokenAttachment
from bigain.tokens import TokenGrid


def grid_of(positions: Tensor) -> TokenGrid | None:
    """Return the grid whose rows and columns are the last two coordinates of positions [N, A], row by row; None if they
    are not those of a single image."""
    tokens, positions = len(positions), positions.detach().cpu()
    leaves_row = (positions[:, -2] != positions[0, -2]).nonzero()
    width = int(leaves_row[0]) if len(leaves_row) else tokens
    if tokens % width:
        return None
    as_map = positions.unflatten(0, (tokens // width, width))
    down, right = as_map.diff(dim=0), as_map.diff(dim=1)
    steps = (down[..., -2] > 0).all() and (right[..., -1] > 0).all()
    is_straight = not down[..., -1].any() and not right[..., -2].any() and not (as_map - as_map[0, 0])[..., :-2].any()
    return TokenGrid(tokens // width, width) if steps and is_straight else None


def is_one_image(positions: Tensor) -> bool:
    """Return whether positions [N, A] have the same coordinates before rows and columns, which number images."""
    numbers = positions[:, :-2]
    return not bool((numbers != numbers[:1]).any())


class PositionsHook(Hook):
    """On the model: reads the grid from the positions of the image's tokens, img_ids, and counts the text's tokens.

    `grid` is the caller's: required where img_ids do not show the grid, and checked against them where they do. They
    are read outside of any compiled graph.
    """

    def __init__(self, attachment: TokenAttachment, model: nn.Module, grid: TokenGrid | None) -> None:
        self.attachment, self.grid = attachment, grid
        self.places = {name: i for i, name in enumerate(parameter_names(model))}

    @partial(
        torch.compiler.disable, reason="FLUX's token grid is read from img_ids: compile the model, not what calls it"
    )
    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Record positions, grid and number of text tokens in the pass, and the grid in the sites for the report."""

        def argument(name: str) -> Tensor:
            return args[self.places[name]] if len(args) > self.places[name] else kwargs[name]

        positions = argument("img_ids")
        positions = positions[0] if positions.ndim == 3 else positions
        grid = self._grid(argument("hidden_states").shape[1], positions)
        forward_pass, text = self.attachment.forward_pass, argument("encoder_hidden_states").shape[1]
        forward_pass.positions = positions.float()
        for site in self.attachment.sites:
            site.grid = forward_pass.grids[site.block.name] = grid
            if site.block.single_stream:
                forward_pass.text_tokens[site.block.name] = text

    def _grid(self, tokens: int, positions: Tensor) -> TokenGrid:
        method, shown = self.attachment.method.id, None if positions.is_meta else grid_of(positions)
        if self.grid is not None and tokens != self.grid.tokens:
            raise ValueError(
                f"{method}: grid is {self.grid} = {self.grid.tokens} tokens, but hidden_states hold {tokens} of the "
                "image: pass the grid=(height, width) of this size, in tokens"
            )
        if self.grid is not None and shown is not None and shown != self.grid:
            raise ValueError(f"{method}: grid is {self.grid}, but img_ids are a grid of {shown}")
        if self.grid is not None and shown is None and not positions.is_meta and not is_one_image(positions):
            raise ValueError(
                f"{method}: grid is {self.grid}, but the first coordinates of img_ids differ between tokens, so these "
                "are of several images; several images in one sequence cannot be compressed"
            )
        grid = self.grid or shown
        if grid is None:
            raise ValueError(
                f"{method}: the {tokens} positions in img_ids are not the rows and columns of one image: pass "
                "grid=(height, width) if the tokens are a grid in row-major order; several images in one sequence "
                "cannot be compressed"
            )
        return grid


class MergeStreamHook(MergeHook):
    """On norm of a single-stream block: reduces the image's tokens for attention and MLP alike."""

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Do nothing: the norm sees all tokens."""

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        """Reduce the image's tokens after the norm; plan first if the block has no plan yet."""
        attachment, block = self.attachment, self.site.block
        forward_pass, (x, *gates) = attachment.forward_pass, output
        if forward_pass.strength is None:
            return None
        if block.name not in forward_pass.plans:
            forward_pass.plans[block.name] = attachment.plan(self.site, forward_pass.image_of(x, block.name))
        return self.reduced(forward_pass.plans[block.name], x), *gates


class RestoreStreamHook(MergeHook):
    """On proj_out of a single-stream block: restores the image's tokens after attention and MLP."""

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Do nothing: the tokens are reduced already."""


class StreamAttentionHook(MergeAttentionHook):
    """On attention of a single-stream block: only checks, since its tokens are reduced already."""

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError for what cannot be merged."""
        if self.attachment.forward_pass.strength is not None:
            self.check(module, args, kwargs)

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Leave the tokens reduced."""
