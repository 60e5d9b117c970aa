"""The hooks that carry an attachment into a forward pass, on diffusers' own registry: no attention is rewritten.

The model's hook sees the timestep, the map module's the height and width of the token grid, the block's the tokens
before norm1; attn1's reduces and restores around the untouched attention, or hands it fewer keys and values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from diffusers.hooks import ModelHook
from torch import Tensor, nn

from bigain.compression.sites import Site
from bigain.compression.token_attachment import TokenAttachment
from bigain.tokens import TokenGrid


def remove_hook(module: nn.Module, name: str) -> None:
    """Remove the hook of that name from a module, if it has one, and what diffusers leaves behind.

    That is an empty registry and a `forward` on the instance, which would shadow that of a swapped class.
    """
    registry = vars(module).get("_diffusers_hook")
    if registry is None:
        return
    registry.remove_hook(name, recurse=False)
    if registry.hooks:
        return
    del module._diffusers_hook
    forward = vars(module).get("forward")
    if inspect.ismethod(forward) and forward.__func__ is type(module).forward and forward.__self__ is module:
        del module.forward


class TimestepHook(ModelHook):
    """On the model: calls `begin` with the timestep before every forward pass, and `end` after it."""

    def __init__(
        self,
        begin: Callable[[Tensor | float | None], None],
        model: nn.Module,
        end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.begin, self.end = begin, end
        self.position = list(inspect.signature(type(model).forward).parameters).index("timestep") - 1  # less self

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        positional = args[self.position] if len(args) > self.position else None
        self.begin(kwargs.get("timestep", positional))
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        if self.end is not None:
            self.end()
        return output


class GridHook(ModelHook):
    """On the last module that sees the tokens as a map: reads height and width, exact for any rectangle."""

    def __init__(self, sites: list[Site]) -> None:
        super().__init__()
        self.sites = sites

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        x = args[0] if args else kwargs["hidden_states"]
        for site in self.sites:
            # Set without comparing it with the last grid, on which a compiled graph would then depend.
            site.grid = TokenGrid(x.shape[-2] // site.block.patch, x.shape[-1] // site.block.patch)
        return args, kwargs


class BlockHook(ModelHook):
    """On the block: plans from the tokens before norm1, where ToMe measures similarity; else attn1's hook plans."""

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        super().__init__()
        self.attachment, self.site = attachment, site

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple, dict]:
        if self.attachment.metric_site == "block_input" and not self.attachment.skips_pass:
            self.site.plan = self.attachment.plan(self.site, args[0] if args else kwargs["hidden_states"])
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        self.site.plan = None
        return output


class AttentionHook(ModelHook):
    """On attn1: reduces, runs the untouched attention and restores; or hands it fewer keys and values."""

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
            raise ValueError(f"{self.site.block.name}: attn1 must be plain self-attention, without context or mask")
        attention, attachment, site = self.fn_ref.original_forward, self.attachment, self.site
        if attachment.skips_pass:
            return attention(hidden_states, **kwargs)
        if attachment.method.acts_on == "tokens":
            plan = attachment.plan(site, hidden_states) if site.plan is None else site.plan
            site.plan = plan
            y = plan.around(partial(attention, **kwargs), hidden_states)
            if site.distinct_rows is not None:  # the layers after it may run on all rows
                site.plan = plan.of_rows(site.distinct_rows.inverse)
            return y
        if getattr(module, "fused_projections", False):
            raise ValueError(f"{site.block.name}: undo fuse_qkv_projections() first; it projects queries with the keys")
        return attention(hidden_states, encoder_hidden_states=attachment.call_operator(site, hidden_states), **kwargs)


class AroundHook(ModelHook):
    """On attn2 or the feed-forward (Table 6): runs it on the tokens that attn1's plan leaves, and restores."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def new_forward(self, module: nn.Module, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer, plan = self.fn_ref.original_forward, self.site.plan
        if plan is None:  # skip_t0
            return layer(hidden_states, *args, **kwargs)
        return plan.around(lambda x: layer(x, *args, **kwargs), hidden_states)
