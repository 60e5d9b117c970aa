"""Hooks of methods that reduce keys and values: to_k and to_v of self-attention get fewer tokens, its queries all."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bigain.compression.beside import others_on, stateful_hooks
from bigain.compression.hooks import Args, Hook, Kwargs, check_plain, check_tokens
from bigain.compression.results import check_reduced
from bigain.compression.sites import Site
from bigain.compression.state import Reduction
from bigain.compression.token_attachment import TokenAttachment

# Of perturbed-attention guidance: their mask has a key for every query.
PERTURBED = ("PAGJointAttnProcessor2_0", "PAGCFGJointAttnProcessor2_0")


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
        check_tokens(self.attachment, self.site, module, x)
        check_plain(module, args, kwargs, name)
        processor = type(module.processor).__name__
        if processor in PERTURBED:
            raise ValueError(
                f"{name}: perturbed attention's processor {processor} masks as many keys as queries, but "
                f"{self.attachment.method.id} leaves fewer keys: take the block out of pag_applied_layers, or merge "
                "tokens instead"
            )
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
        """Return whether a projection already has its hook: replicas of data parallelism share the original's."""
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
        """Return the reduced tokens of the image. Raises ValueError if the operator returns any other number."""
        attachment, forward_pass = self.attachment, self.attachment.forward_pass
        short = attachment.call_operator(self.site, image)
        assert forward_pass.strength is not None  # else nothing expects a reduction
        check_reduced(attachment.method, forward_pass.strength, forward_pass.grids[self.site.block.name], image, short)
        return short

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Replace the tokens."""
        x = self.reduced(args[0])
        return None if x is None else ((x, *args[1:]), kwargs)


class ValuesHook(KeysHook):
    """On to_v of self-attention: hands it the tokens that to_k got.

    Other inputs pass unchanged, such as those of perturbed attention, which computes values without keys.
    """

    def reduced(self, x: Tensor) -> Tensor | None:
        """Return the reduced tokens in place of x, or None for other tokens."""
        reduction = self.attachment.forward_pass.reductions.get(self.site.block.name)
        if reduction is not None:
            for whole, short in reduction.pairs:
                if x is whole:
                    reduction.reached_values = True
                    return short
        return None
