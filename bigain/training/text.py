"""Tokenizers with one token per word of the embedded captions, CLIP's and T5's, and text encoders to match."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

MAX_LENGTH = 20  # the longest caption of a scene takes 19
WIDTH = 64
T5_WIDTH = 128


def build_tokenizer(words: list[str]) -> CLIPTokenizer:
    """Build byte-level BPE over single characters with the merges that join each of `words`, letter by letter.

    Raises ValueError if a word is not a single token because its merges collide with those of another.
    """
    letters = sorted({character for word in words for character in word} | set("abcdefghijklmnopqrstuvwxyz-"))
    symbols = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in sorted(words, reverse=True):  # this order keeps the merges of the fashion captions apart
        left = word[0] if len(word) > 1 else f"{word}</w>"
        for position, letter in enumerate(word[1:], start=1):
            right = letter if position < len(word) - 1 else f"{letter}</w>"
            if (left, right) not in merges:
                merges.append((left, right))
            left += right
    tokens = dict.fromkeys(symbols + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"])
    with tempfile.TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab_file.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
        merges_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_LENGTH)
    for word in words:
        if tokenizer.tokenize(word) != [f"{word}</w>"]:
            raise ValueError(f"the word {word!r} is split into {tokenizer.tokenize(word)}; reorder the merges")
    return tokenizer


def build_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build an untrained CLIP text encoder with two layers of width 64."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def with_projection(encoder: CLIPTextModel) -> CLIPTextModelWithProjection:
    """Return a CLIP text encoder with the identity as projection of its pooled vector, which SD3's format asks for."""
    projected = CLIPTextModelWithProjection(encoder.config)
    weights = {f"text_model.{name}": weight for name, weight in encoder.state_dict().items()}
    projected.load_state_dict({**weights, "text_projection.weight": torch.eye(WIDTH)})
    return projected


def build_t5_tokenizer(words: list[str]) -> T5Tokenizer:
    """Build a unigram tokenizer with a token for every word, at the start of a text's word and inside it (t-shirt)."""
    pieces = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in words), *words]
    vocabulary = [(piece, 0.0 if piece.startswith("<") else -1.0) for piece in pieces]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=MAX_LENGTH)


def build_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """Build an untrained T5 encoder: a layer of width 128."""
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=T5_WIDTH,
            d_kv=T5_WIDTH // 4,
            d_ff=2 * T5_WIDTH,
            num_layers=1,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    nn.init.normal_(encoder.shared.weight)
    return encoder
