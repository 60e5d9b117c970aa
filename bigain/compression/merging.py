"""Hooks of methods that merge tokens: a layer runs on the tokens that a block's plan leaves, and they are restored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bigain.compression.beside import smoothed_projections, stateful_hooks
from bigain.compression.hooks import Args, Hook, Kwargs, check_plain, check_tokens
from bigain.compression.results import check_merged
from bigain.compression.sites import Site
from bigain.compression.token_attachment import TokenAttachment
from bigain.tokens import Plan, RaggedPlan

MASKED = ("AttnProcessor", "AttnProcessor2_0")  # processors of attention that add a mask to the logits


class BlockHook(Hook):
    """On the block: plans from the tokens before norm1, if similarity is measured there; else attn1's hook plans."""

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        self.attachment, self.site = attachment, site

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Plan, if similarity is measured here."""
        attachment, site = self.attachment, self.site
        forward_pass = attachment.forward_pass
        x = args[0] if args else kwargs["hidden_states"]
        if forward_pass.strength is None:
            if attachment.method.depends_on_image:
                site.observe([x.shape[1]] * len(x))
        elif attachment.metric_site == "block_input":
            check_tokens(attachment, site, module, x)
            forward_pass.plans[site.block.name] = attachment.plan(site, x)

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Forget the plan."""
        self.attachment.forward_pass.plans.pop(self.site.block.name, None)


class MergeHook(Hook):
    """On a layer: runs it on the tokens that the block's plan leaves, and restores them.

    Where samples keep different numbers of tokens, the first sample runs in the call itself and the others after it.
    """

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        self.attachment, self.site = attachment, site

    def check(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError for what the layer cannot take with merged tokens: nothing."""

    def plan(self, x: Tensor) -> Plan:
        """Return the plan of the block, whose tokens are x."""
        return self.attachment.forward_pass.plans[self.site.block.name]

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Reduce the tokens."""
        forward_pass, site = self.attachment.forward_pass, self.site
        if forward_pass.strength is None:
            return None
        x = args[0] if args else kwargs["hidden_states"]
        self.check(module, args, kwargs)
        check_tokens(self.attachment, site, module, forward_pass.image_of(x, site.block.name))
        plan = self.plan(x)
        if isinstance(plan, RaggedPlan):
            forward_pass.whole[site.block.name] = x
            first = plan.plans[0]
            return _with_first(args, kwargs | self.mask(module, first, x), first.reduce(x[:1]))
        return _with_first(args, kwargs | self.mask(module, plan, x), self.reduced(plan, x))

    def reduced(self, plan: Plan, x: Tensor) -> Tensor:
        """Return the tokens that a plan leaves of x [B, T + N, C], T of them text, which it does not touch.

        Raises ValueError if it leaves another number than the strength says.
        """
        assert not isinstance(plan, RaggedPlan)  # whose samples run one by one
        attachment, name = self.attachment, self.site.block.name
        forward_pass = attachment.forward_pass
        short = forward_pass.on_image(plan.reduce, x, name)
        assert forward_pass.strength is not None  # else there is no plan
        check_merged(attachment.method, forward_pass.strength, forward_pass.grids[name], x, short)
        return short

    def mask(self, module: nn.Module, plan: Any, x: Tensor) -> Kwargs:
        """Return the layer's additional arguments on merged tokens: none. `x` is the tokens before merging."""
        return {}

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        """Restore them."""
        forward_pass, name, distinct = self.attachment.forward_pass, self.site.block.name, self.site.distinct_rows
        if forward_pass.strength is None:
            return None
        plan = forward_pass.plans[name]
        if isinstance(plan, RaggedPlan):
            outputs = [plan.plans[0].restore(output)]
            samples = forward_pass.whole.pop(name).split(1)
            for of_sample, sample in zip(plan.plans[1:], samples[1:], strict=True):
                further = kwargs | self.mask(module, of_sample, sample)
                other_args, other_kwargs = _with_first(args, further, of_sample.reduce(sample))
                outputs.append(of_sample.restore(module.forward(*other_args, **other_kwargs)))
            y = torch.cat(outputs)
        elif isinstance(output, tuple):  # joint attention: of the image, then of the text
            return plan.restore(output[0]), *output[1:]
        else:
            y = forward_pass.on_image(plan.restore, output, self.site.block.name)
        if distinct is not None and len(y) < len(distinct.inverse):  # the layers after it may run on all rows
            forward_pass.plans[name] = plan.of_rows(distinct.inverse)
        return y


class MergeAttentionHook(MergeHook):
    """On self-attention: as `MergeHook`, and plans from the tokens after norm1 where the block has no plan yet."""

    def plan(self, x: Tensor) -> Plan:
        """Return the plan of the block, made here or before."""
        name, plans = self.site.block.name, self.attachment.forward_pass.plans
        if name not in plans:
            image = self.attachment.forward_pass.image_of(x, self.site.block.name)
            plans[name] = self.attachment.plan(self.site, image)
        return plans[name]

    def mask(self, module: nn.Module, plan: Any, x: Tensor) -> Kwargs:
        """Return the log of every key's group size as an additive mask [B, 1, N'], for proportional attention.

        Raises ValueError for an attention processor that may not read it.
        """
        method = self.attachment.method
        if method.attention is None:
            return {}
        processor = type(module.processor).__name__
        if processor not in MASKED:
            raise ValueError(
                f"{self.site.block.name}: {method.id} adds the sizes of groups to the logits, for which the attention "
                f"processor has to be {' or '.join(MASKED)}, not {processor}"
            )
        return {"attention_mask": plan.sizes.log().unsqueeze(1).to(x.dtype)}

    def check(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError for a mask, for a hook that keeps what attention returned, and for one that smooths queries
        as a map."""
        check_plain(module, args, kwargs, self.site.block.name)
        kept_from = stateful_hooks(module)
        if kept_from:
            raise ValueError(
                f"{self.site.block.name}: diffusers' hook {kept_from[0]!r} reuses what attention returned at an "
                "earlier step, but the merged tokens of two steps differ: remove one of the two"
            )
        smoothed = smoothed_projections(module)
        if smoothed:
            raise ValueError(
                f"{self.site.block.name}: smoothed-energy guidance blurs the output of {smoothed[0]} as a map of all "
                "tokens, but merged tokens are no map: remove one of the two, or reduce keys and values instead"
            )


class MergeCrossAttentionHook(MergeHook):
    """On cross-attention: as `MergeHook`."""

    def check(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError for masks with a value per query: of an IP-Adapter's regions, or of the prompt's tokens."""
        mask = args[2] if len(args) > 2 else kwargs.get("attention_mask")
        differs = mask is not None and mask.ndim > 2 and mask.shape[-2] > 1  # from query to query
        regions = kwargs.get("ip_adapter_masks")
        if differs or regions is not None:
            raise ValueError(
                f"{self.site.block.name}: {'attention_mask' if regions is None else 'ip_adapter_masks'} has values for "
                f"every token, but {self.attachment.method.id} merges tokens before cross-attention: leave it out, or "
                "do not merge around cross-attention (a method's id without ca)"
            )


class MergeFeedForwardHook(MergeHook):
    """On the feed-forward: as `MergeHook`."""

    def check(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError if diffusers' feed-forward chunking hands the layer a part of the rows or tokens."""
        block = self.site.block
        if getattr(block.module, "_chunk_size", None) is None:
            return
        x, forward_pass = args[0] if args else kwargs["hidden_states"], self.attachment.forward_pass
        plan = forward_pass.plans[block.name]
        whole = len(plan.plans if isinstance(plan, RaggedPlan) else plan.left), forward_pass.grids[block.name].tokens
        if x.shape[:2] != whole:
            raise ValueError(
                f"{block.name}: feed-forward chunking hands {type(module).__name__} {x.shape[0]} x {x.shape[1]} of the "
                f"{whole[0]} x {whole[1]} tokens that {self.attachment.method.id} merges: turn it off "
                "(model.disable_forward_chunking(), or set_chunk_feed_forward(None) of each block), or do not merge "
                "around the feed-forward (a method's id without mlp)"
            )


def _with_first(args: Args, kwargs: Kwargs, x: Tensor) -> tuple[Args, Kwargs]:
    return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})
