"""FLUX's attention with the rotary positions of fewer tokens.

A merged token has the position of its destination. Where only keys and values shrink, queries keep their positions; a
picked key keeps its position, and a pooled key gets the positions pooled in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_flux import FluxAttention, FluxAttnProcessor
from torch import Tensor, nn

from bigain.compression.beside import others_on
from bigain.compression.hooks import Args, Hook, Kwargs
from bigain.compression.reducing import KeysHook
from bigain.compression.sites import Site
from bigain.compression.token_attachment import TokenAttachment
from bigain.tokens import RaggedPlan
from bigain.tokens.downsample import PLACES
from bigain.tokens.matching import rows

Table = tuple[Tensor, Tensor]  # cosines and sines of rotary positions, [S, D] or [B, S, D]


class PlacedKeysHook(KeysHook):
    """On to_k, for methods that pick keys by their score: records which tokens are picked."""

    def short(self, image: Tensor) -> Tensor:
        """Return the tokens that are kept as keys and values."""
        pick = PLACES[self.attachment.method.operator]
        places = self.attachment.call_operator(self.site, image, pick)
        self.attachment.forward_pass.reductions[self.site.block.name].places = places
        return rows(image, places)


class ProcessorHook(Hook):
    """On attention: checks that its processor is its site's `RotaryProcessor`, which knows the positions of fewer
    tokens."""

    def __init__(self, attachment: TokenAttachment, site: Site) -> None:
        self.attachment, self.site = attachment, site

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Raise ValueError if something has replaced it."""
        processor: Any = module.processor
        is_rotary = isinstance(processor, RotaryProcessor)
        if (is_rotary and processor.site is self.site) or self.attachment.forward_pass.strength is None:
            return
        raise ValueError(
            f"{self.site.block.name}: its attention processor is {type(processor).__name__}"
            f"{' of another block or attachment' if is_rotary else ''}, which does not know the positions of "
            f"compressed tokens: call bigain.remove, and apply {self.attachment.method.id} after it; "
            f"{others_on(module)}"
        )


class RotaryProcessor:
    """FLUX's attention (`FluxAttnProcessor`) with rotary positions that differ between samples, and between queries and
    keys. Where nothing is compressed, it calls the original processor: also if its attachment was removed, but
    `attn_processors` was read before and set again."""

    def __init__(
        self, original: FluxAttnProcessor, attachment: TokenAttachment, site: Site, embed: Callable[[Tensor], Table]
    ) -> None:
        self.original, self.attachment, self.site, self.embed = original, attachment, site, embed

    @property
    def _attention_backend(self) -> Any:  # which model.set_attention_backend reads and sets
        return self.original._attention_backend

    @_attention_backend.setter
    def _attention_backend(self, backend: Any) -> None:
        self.original._attention_backend = backend

    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Table | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        if image_rotary_emb is None or not self.attachment.is_attached or not self._is_compressed():
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        query, key, value = _projected(attn, hidden_states, encoder_hidden_states)
        of_queries, of_keys = self._tables(image_rotary_emb, len(query))
        return _attend(
            attn,
            rotated(query, of_queries),
            rotated(key, of_keys),
            value,
            0 if encoder_hidden_states is None else encoder_hidden_states.shape[1],
            self._attention_backend,
        )

    def _is_compressed(self) -> bool:
        """Return whether the block's tokens are merged, or its keys and values reduced, in the pass that runs."""
        forward_pass, name = self.attachment.forward_pass, self.site.block.name
        return name in forward_pass.plans or name in forward_pass.reductions

    def _tables(self, table: Table, batch: int) -> tuple[Table, Table]:
        """Return the tables of queries and of keys; `table` [T + N, D] is that of all tokens before compression."""
        forward_pass, name = self.attachment.forward_pass, self.site.block.name
        text = len(table[0]) - forward_pass.grids[name].tokens
        if name in forward_pass.plans:
            plan = forward_pass.plans[name]
            assert not isinstance(plan, RaggedPlan)  # refused when the method was attached
            merged = _picked(table, plan.left, text)
            return merged, merged
        places = forward_pass.reductions[name].places
        return table, self._pooled(table, text, batch) if places is None else _picked(table, places, text)

    def _pooled(self, table: Table, text: int, batch: int) -> Table:
        """Return the positions of pooled keys, which all blocks share."""
        forward_pass = self.attachment.forward_pass
        if forward_pass.key_table is None:
            varies = "alpha" in self.attachment.options  # alpha may depend on the timestep of a row
            assert forward_pass.positions is not None  # set by the model's hook
            positions = forward_pass.positions.expand(batch if varies else 1, -1, -1)
            pooled = self.attachment.call_operator(self.site, positions)
            cosines, sines = (part.unflatten(0, pooled.shape[:2]) for part in self.embed(pooled.flatten(0, 1)))
            forward_pass.key_table = (_after(table[0][:text], cosines), _after(table[1][:text], sines))
        return forward_pass.key_table


def rotated(x: Tensor, table: Table) -> Tensor:
    """Rotate every pair of channels of x [B, S, H, D] by its token's position, as diffusers' `apply_rotary_emb`."""
    cosines, sines = (part.unsqueeze(-2) for part in table)
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-imaginary, real], dim=-1).flatten(3)
    return (x.float() * cosines + turned.float() * sines).to(x.dtype)


def _picked(table: Table, places: Tensor, text: int) -> Table:
    """Return the positions of the text's tokens, then of the image's tokens `places` [B, K]: [B, T + K, D]."""
    cosines, sines = (_after(part[:text], part[text:][places]) for part in table)
    return cosines, sines


def _after(text: Tensor, image: Tensor) -> Tensor:
    """Put the text's rows before the image's: [T, D] and [B, K, D] -> [B, T + K, D]."""
    return torch.cat([text.expand(len(image), -1, -1), image], dim=1)


def _projected(attn: FluxAttention, image: Tensor, text: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values [B, T + N, H, D], the text's first."""
    if attn.fused_projections:
        query, key, value = attn.to_qkv(image).chunk(3, dim=-1)
    else:
        query, key, value = attn.to_q(image), attn.to_k(image), attn.to_v(image)
    query, key, value = (x.unflatten(-1, (attn.heads, -1)) for x in (query, key, value))
    query, key = attn.norm_q(query), attn.norm_k(key)
    if text is None:
        return query, key, value
    if attn.fused_projections:
        added = attn.to_added_qkv(text).chunk(3, dim=-1)
    else:
        added = attn.add_q_proj(text), attn.add_k_proj(text), attn.add_v_proj(text)
    text_query, text_key, text_value = (x.unflatten(-1, (attn.heads, -1)) for x in added)
    text_query, text_key = attn.norm_added_q(text_query), attn.norm_added_k(text_key)
    pairs = ((text_query, query), (text_key, key), (text_value, value))
    query, key, value = (torch.cat(pair, dim=1) for pair in pairs)
    return query, key, value


def _attend(
    attn: FluxAttention, query: Tensor, key: Tensor, value: Tensor, text: int, backend: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the attention's output; in a double-stream block the image's, then that of the `text` text tokens."""
    y = dispatch_attention_fn(query, key, value, backend=backend).flatten(2, 3).to(query.dtype)
    if not text:
        return y
    image = attn.to_out[1](attn.to_out[0](y[:, text:].contiguous()))
    return image, attn.to_add_out(y[:, :text].contiguous())


@dataclass
class ProcessorHandle:
    """Puts an attention's original processor back, unless something else has replaced ours."""

    attention: FluxAttention
    processor: RotaryProcessor

    def remove(self) -> None:
        """Put it back."""
        if self.attention.processor is self.processor:
            self.attention.set_processor(self.processor.original)


def put_processors_on(attachment: TokenAttachment, embed: Callable[[Tensor], Table]) -> list[ProcessorHandle]:
    """Give the attention of every compressed block the processor that knows the positions of fewer tokens.

    Raises ValueError if a block has another processor than FLUX's own.
    """
    for site in attachment.sites:
        processor = _own_processor(site.block.module.attn)
        if type(processor) is not FluxAttnProcessor:
            raise ValueError(
                f"{site.block.name}: its attention processor is {type(processor).__name__}; {attachment.method.id} "
                "needs FLUX's own, FluxAttnProcessor, for the positions of compressed tokens (pipe.unload_ip_adapter() "
                "takes an IP-Adapter off)"
            )
    return [_put_on(site, attachment, embed) for site in attachment.sites]


def _own_processor(attention: FluxAttention) -> Any:
    """Return an attention's processor, or the original one if the processor belongs to a removed attachment."""
    processor = attention.processor
    is_stale = isinstance(processor, RotaryProcessor) and not processor.attachment.is_attached
    return processor.original if is_stale else processor


def _put_on(site: Site, attachment: TokenAttachment, embed: Callable[[Tensor], Table]) -> ProcessorHandle:
    attention = site.block.module.attn
    handle = ProcessorHandle(attention, RotaryProcessor(_own_processor(attention), attachment, site, embed))
    attention.set_processor(handle.processor)
    return handle
