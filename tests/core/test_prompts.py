"""What several text encoders read of a prompt, with real tokenizers of a few words."""

import pytest
from transformers import CLIPTokenizer, T5Tokenizer

from bigain.core.prompts import (
    TEXT_ENCODERS,
    Reader,
    cut_off,
    equal_by_cutting,
    equal_when_read,
    limits,
    readings,
)
from tests.helpers.repository import ROOT

WORDS = ["a", "photo", "of", "bag", "coat", "A"]


@pytest.fixture(scope="module")
def clip():
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "resources/mini-unet", subfolder="tokenizer")
    return Reader("text_encoder", tokenizer, 20)


@pytest.fixture(scope="module")
def t5():
    """A token per word and one for the end."""
    pieces = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")] + [(f"\u2581{word}", -1.0) for word in WORDS]
    return Reader("text_encoder_2", T5Tokenizer(vocab=pieces, extra_ids=0), 30)


def test_a_prompt_is_cut_off_only_where_no_encoder_reads_it_to_its_end(clip, t5):
    prompts = ["a bag", "a " * 18, "a " * 19, "a " * 29, "a " * 30]
    read = readings(prompts, [clip, t5])
    assert [reading.tokens for reading in read] == [3, 19, 20, 30, 31]
    assert [reading.unread_by for reading in read] == [(), (), ("text_encoder",), ("text_encoder",), (clip[0], t5[0])]
    assert [reading.is_cut_off for reading in read] == [False, False, False, False, True]
    assert list(cut_off(["a bag", "a " * 30], [clip, t5], "flux")) == [
        f"the prompt {'a ' * 30!r} has 31 tokens; flux reads 30 and would drop the rest"
    ]
    assert [reading.is_cut_off for reading in readings(prompts, [clip])] == [False, False, True, True, True]
    assert not any(reading.is_cut_off for reading in readings(prompts, []))
    assert readings([], [clip, t5]) == list(equal_when_read([], [clip, t5])) == []


def test_prompts_are_equal_if_every_encoder_reads_the_same(clip, t5):
    """To CLIP capitals are letters like others, to T5 they are not."""
    prompts = ["a photo of a bag", "A photo of a bag", "a photo of a coat", "a photo  of a bag"]
    assert list(equal_when_read(prompts, [clip])) == [(0, 1), (0, 3)]
    assert list(equal_when_read(prompts, [t5])) == [(0, 3)]
    assert list(equal_when_read(prompts, [clip, t5])) == [(0, 3)]


def test_prompts_that_only_an_unread_end_tells_apart_are_named(clip, t5):
    long = ["a " * 20 + "bag", "a " * 20 + "coat"]
    (fault,) = equal_by_cutting(long, [clip])
    assert fault == (
        f"the prompts {long[0]!r} and {long[1]!r} differ only where no text encoder reads them, after 20 tokens"
    )
    assert list(equal_by_cutting(long, [clip, t5])) == []
    assert list(equal_by_cutting(["a " * 30 + "bag", "a " * 30 + "coat"], [clip, t5])) != []
    assert list(equal_by_cutting([long[0]] * 2, [clip])) == []  # two classes of ImageNet may share a whole prompt
    assert list(equal_by_cutting(["a bag", "A bag"], [clip])) == []


@pytest.mark.parametrize(
    ("family", "stated", "expected"),
    [
        ("unet", [77], [77]),
        ("mmdit", [77, 99, 512], [77, 77, 256]),
        ("mmdit", [20, 20, 20], [20, 20, 20]),
        ("flux", [77, 512], [77, 512]),
        ("flux", [77, 10**30], [77, 512]),
        ("dit", [], []),
    ],
)
def test_limits_are_those_of_the_pipelines(family, stated, expected):
    encoders = TEXT_ENCODERS[family]
    assert limits(encoders, dict(zip(encoders, stated, strict=True)).__getitem__) == expected
