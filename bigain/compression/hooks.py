"""The hooks that carry an attachment into a forward pass, on diffusers' own registry: no attention is rewritten.

They work together: the model's sees the timestep, the map owner's the height and width of the token grid, the block's
its tokens before norm1, and attn1's reduces and restores around the untouched attention (or hands it fewer keys and
values).
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from diffusers.hooks import ModelHook
from torch import Tensor, nn

from bigain.compression.sites import Site
from bigain.compression.state import TokenAttachment
from bigain.tokens import TokenGrid


class TimestepHook(ModelHook):
    """On the model: sees the timestep and counts the calls."""

    def __init__(self, attachment: TokenAttachment, model: nn.Module) -> None:
        super().__init__()
        self.attachment = attachment
        self.place = list(inspect.signature(type(model).forward).parameters).index("timestep") - 1  # less self

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        by_place = args[self.place] if len(args) > self.place else None
        self.attachment.begin(kwargs.get("timestep", by_place))
        return args, kwargs


class GridHook(ModelHook):
    """On the last module that sees the tokens as a map: sees height and width, exact for any rectangle."""

    def __init__(self, attachment: TokenAttachment, sites: list[Site]) -> None:
        super().__init__()
        self.attachment, self.sites = attachment, sites

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        x = args[0] if args else kwargs["hidden_states"]
        for site in self.sites:
            grid = TokenGrid(x.shape[-2] // site.block.patch, x.shape[-1] // site.block.patch)
            if grid != site.grid:
                site.grid = grid
                self.attachment.predict(site)
        return args, kwargs


class BlockHook(ModelHook):
    """On the block: plans from the tokens before norm1, where ToMe measures similarity, or leaves it to attn1."""

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        super().__init__()
        self.attachment, self.site = attachment, site

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        if self.attachment.metric_site == "block_input" and not self.attachment.rests:
            self.site.plan = self.attachment.plan(self.site, args[0] if args else kwargs["hidden_states"])
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        self.site.plan = None
        return output


class AttentionHook(ModelHook):
    """On attn1: reduce, run the untouched attention, restore; or give it fewer keys and values."""

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        super().__init__()
        self.attachment, self.site = attachment, site

    def new_forward(
        self,
        module: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError(f"{self.site.block.name}: attn1 is no plain self-attention here (context or mask given)")
        attention, attachment, site = self.fn_ref.original_forward, self.attachment, self.site
        if attachment.rests:
            return attention(hidden_states, **kwargs)
        if attachment.method.acts_on == "tokens":
            if site.plan is None:
                site.plan = attachment.plan(site, hidden_states)
            y = site.plan.around(partial(attention, **kwargs), hidden_states)
            if site.distinct_rows is not None:  # the layers after it may run on all rows
                site.plan = site.plan.of_rows(site.distinct_rows.inverse)
            return y
        if getattr(module, "fused_projections", False):
            raise ValueError(f"{site.block.name}: undo fuse_qkv_projections() first; it projects queries with the keys")
        return attention(hidden_states, encoder_hidden_states=attachment.plan(site, hidden_states), **kwargs)


class AroundHook(ModelHook):
    """On attn2 or the feed-forward (Table 6): run it on the tokens that attn1's plan leaves, then restore."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def new_forward(self, module: nn.Module, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer, plan = self.fn_ref.original_forward, self.site.plan
        if plan is None:  # skip_t0
            return layer(hidden_states, *args, **kwargs)
        return plan.around(lambda x: layer(x, *args, **kwargs), hidden_states)
