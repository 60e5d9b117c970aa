"""The hooks that carry an attachment into a forward pass: no attention is rewritten.

They are PyTorch's module hooks, which run no matter who replaces a module's `forward` before or after them (offloading,
caches), and are removed with their handle. The model's hook begins the pass, the map module's reads the grid, the
block's sees the tokens before norm1, self-attention's reduces and restores around the untouched attention; to_k's and
to_v's hand it fewer keys and values, whatever its processor. Where text takes part in attention, hooks touch only the
image's tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain.compression.beside import others_on, stateful_hooks
from bigain.compression.sites import Site
from bigain.compression.state import Reduction
from bigain.compression.token_attachment import TokenAttachment
from bigain.tokens import Plan, RaggedPlan, TokenGrid

MASKED = ("AttnProcessor", "AttnProcessor2_0")  # processors of attention that add a mask to the logits
Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Hook:
    """Functions `before` and `after` a module's forward pass."""

    ends_failed = False  # `after` also runs after a forward pass that failed

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Return other arguments of the call, or None to leave them."""
        return None

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        """Return another output, or None to leave it."""
        return None

    def put_on(self, module: nn.Module) -> list[RemovableHandle]:
        """Register the functions that the hook has, and return the handles that remove them."""
        handles = []
        if type(self).before is not Hook.before:
            handles.append(module.register_forward_pre_hook(self.before, with_kwargs=True))
        if type(self).after is not Hook.after:
            handles.append(module.register_forward_hook(self.after, with_kwargs=True, always_call=self.ends_failed))
        return handles


class TimestepHook(Hook):
    """On the model: calls `begin` with the timestep before every forward pass, and `end` after it."""

    ends_failed = True

    def __init__(
        self,
        begin: Callable[[Tensor | float | None], None],
        model: nn.Module,
        end: Callable[[], None] | None = None,
    ) -> None:
        self.begin, self.end = begin, end
        self.position = list(inspect.signature(type(model).forward).parameters).index("timestep") - 1  # less self

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Begin a forward pass."""
        positional = args[self.position] if len(args) > self.position else None
        self.begin(kwargs.get("timestep", positional))

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """End it."""
        if self.end is not None:
            self.end()


class GridHook(Hook):
    """On the last module that sees the tokens as a map: reads height and width, exact for any rectangle."""

    def __init__(self, attachment: TokenAttachment, sites: list[Site]) -> None:
        self.attachment, self.sites = attachment, sites

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Note the grid in the pass, and for the report in the site."""
        x, forward_pass = args[0] if args else kwargs["hidden_states"], self.attachment.forward_pass
        for site in self.sites:
            # Set without comparing it with the last grid, on which a compiled graph would then depend.
            site.grid = TokenGrid(x.shape[-2] // site.block.patch, x.shape[-1] // site.block.patch)
            forward_pass.grids[site.block.name] = site.grid


class BlockHook(Hook):
    """On the block: plans from the tokens before norm1, where ToMe measures similarity; else attn1's hook plans."""

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
            _check_tokens(attachment, site, module, x)
            forward_pass.plans[site.block.name] = attachment.plan(site, x)

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Forget the plan."""
        self.attachment.forward_pass.plans.pop(self.site.block.name, None)


class MergeHook(Hook):
    """On attention or the feed-forward: runs it on the tokens that the block's plan leaves, and restores them.

    Where samples keep different numbers of tokens, the first runs in the call itself and the others after it.
    """

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        self.attachment, self.site = attachment, site

    def plan(self, module: nn.Module, args: Args, kwargs: Kwargs, x: Tensor) -> Plan:
        """Return the plan of the block."""
        return self.attachment.forward_pass.plans[self.site.block.name]

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Reduce the tokens."""
        forward_pass, site = self.attachment.forward_pass, self.site
        if forward_pass.strength is None:
            return None
        x = args[0] if args else kwargs["hidden_states"]
        _check_tokens(self.attachment, site, module, forward_pass.image_of(x, site.block.name))
        plan = self.plan(module, args, kwargs, x)
        if isinstance(plan, RaggedPlan):
            forward_pass.whole[site.block.name] = x
            first = plan.plans[0]
            return _with_first(args, kwargs | self.mask(module, first, x), first.reduce(x[:1]))
        short = forward_pass.on_image(plan.reduce, x, site.block.name)
        return _with_first(args, kwargs | self.mask(module, plan, x), short)

    def mask(self, module: nn.Module, plan: Any, x: Tensor) -> Kwargs:
        """Return the layer's further arguments on merged tokens x: none."""
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

    def plan(self, module: nn.Module, args: Args, kwargs: Kwargs, x: Tensor) -> Plan:
        """Return the plan of the block, made here or before."""
        name, plans = self.site.block.name, self.attachment.forward_pass.plans
        self.check(module, args, kwargs)
        if name not in plans:
            image = self.attachment.forward_pass.image_of(x, self.site.block.name)
            plans[name] = self.attachment.plan(self.site, image)
        return plans[name]

    def mask(self, module: nn.Module, plan: Any, x: Tensor) -> Kwargs:
        """Return the log of every key's group size as the attention's additive mask [B, 1, N'], if the method says so.

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
        """Raise ValueError for a mask, and for a hook that keeps what attention returned."""
        _check_plain(module, args, kwargs, self.site.block.name)
        kept_from = stateful_hooks(module)
        if kept_from:
            raise ValueError(
                f"{self.site.block.name}: diffusers' hook {kept_from[0]!r} reuses what attention returned at an "
                "earlier step, but the merged tokens of two steps differ: remove one of the two"
            )


class ReduceHook(Hook):
    """On self-attention: checks that its processor uses the tokens that `KeysHook` and `ValuesHook` reduce."""

    def __init__(self, attachment: TokenAttachment, site: Site, keys: type[KeysHook]) -> None:
        self.attachment, self.site, self.keys = attachment, site, keys
        self.projections: list[nn.Module] = []  # that have their hooks

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Expect a reduction, and follow the projections if others (LoRA) have replaced them."""
        forward_pass, name = self.attachment.forward_pass, self.site.block.name
        if forward_pass.strength is None:
            return
        x = forward_pass.image_of(args[0] if args else kwargs["hidden_states"], self.site.block.name)
        _check_tokens(self.attachment, self.site, module, x)
        _check_plain(module, args, kwargs, name)
        if getattr(module, "fused_projections", False):
            raise ValueError(f"{name}: undo fuse_qkv_projections() first; it projects queries with the keys")
        self.follow(module)
        forward_pass.reductions[name] = Reduction()

    def follow(self, attention: nn.Module) -> None:
        """Put the hooks of keys and values on the attention's projections, where they are not yet."""
        for name, hook in (("to_k", self.keys), ("to_v", ValuesHook)):
            projection = attention.get_submodule(name)
            if not any(projection is hooked for hooked in self.projections) and not self._is_hooked(projection, hook):
                self.attachment.handles += hook(self.attachment, self.site).put_on(projection)
                self.projections.append(projection)

    def _is_hooked(self, projection: nn.Module, kind: type[KeysHook]) -> bool:
        """Return whether a projection has its hook already: replicas of data parallelism share their original's."""
        hooks = (getattr(function, "__self__", None) for function in projection._forward_pre_hooks.values())
        return any(type(hook) is kind and hook.attachment is self.attachment for hook in hooks)

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """Raise ValueError if the reduced tokens did not reach keys and values."""
        reduction = self.attachment.forward_pass.reductions.pop(self.site.block.name, None)
        if reduction is None or (reduction.pairs and reduction.reached_values) or stateful_hooks(module):
            return
        raise ValueError(
            f"{self.site.block.name}: its attention processor {type(module.processor).__name__} does not make keys and "
            f"values with to_k and to_v of the block's tokens, so {self.attachment.method.id} would compress nothing; "
            f"{others_on(module)}"
        )


class KeysHook(Hook):
    """On to_k of self-attention: hands it the reduced tokens, whatever the attention's processor is."""

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        self.attachment, self.site = attachment, site

    def reduced(self, x: Tensor) -> Tensor | None:
        """Return the reduced tokens in place of x, or None for other tokens."""
        forward_pass, block = self.attachment.forward_pass, self.site.block
        reduction = forward_pass.reductions.get(block.name)
        if reduction is None or any(x is short for _, short in reduction.pairs):
            return None
        if forward_pass.image_of(x, block.name).shape[1] != forward_pass.grids[block.name].tokens:
            return None
        short = forward_pass.on_image(self.short, x, block.name)
        reduction.pairs.append((x, short))
        return short

    def short(self, image: Tensor) -> Tensor:
        """Return the reduced tokens of the image."""
        return self.attachment.call_operator(self.site, image)

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Replace the tokens."""
        x = self.reduced(args[0])
        return None if x is None else ((x, *args[1:]), kwargs)


class ValuesHook(KeysHook):
    """On to_v of self-attention: hands it the tokens that to_k got. Others are values without keys, as in perturbed
    attention."""

    def reduced(self, x: Tensor) -> Tensor | None:
        """Return the reduced tokens in place of x, or None for other tokens."""
        reduction = self.attachment.forward_pass.reductions.get(self.site.block.name)
        if reduction is not None:
            for whole, short in reduction.pairs:
                if x is whole:
                    reduction.reached_values = True
                    return short
        return None


def _with_first(args: Args, kwargs: Kwargs, x: Tensor) -> tuple[Args, Kwargs]:
    return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})


def _check_tokens(attachment: TokenAttachment, site: Site, module: nn.Module, x: Tensor) -> None:
    grid = attachment.forward_pass.grids.get(site.block.name)
    if grid is None:
        raise ValueError(f"{site.block.name} ran without {type(site.block.map_module).__name__}, which shows its grid")
    if x.shape[1] != grid.tokens:
        raise ValueError(
            f"{site.block.name}: {x.shape[1]} tokens reached {type(module).__name__}, not the {grid.tokens} of its "
            f"{grid} grid: something else changes their number; {others_on(site.block.module, module)}"
        )


def _check_plain(module: nn.Module, args: Args, kwargs: Kwargs, name: str) -> None:
    context = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
    mask = args[2] if len(args) > 2 else kwargs.get("attention_mask")
    is_joint = getattr(module, "added_kv_proj_dim", None) is not None
    if is_joint and mask is not None:
        raise ValueError(
            f"{name}: joint attention must run without a mask, which would be for the tokens before they are merged: "
            "leave attention_mask out"
        )
    if not is_joint and (context is not None or mask is not None):
        raise ValueError(f"{name}: attn1 must be plain self-attention, without context or mask")
