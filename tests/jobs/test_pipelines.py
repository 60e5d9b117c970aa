"""What a pipeline reads of a prompt, and the classes it has."""

import pytest
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline, PixArtAlphaPipeline
from transformers import CLIPTokenizer, T5Tokenizer

from bigain.jobs.pipelines import class_names, condition_of, refuse_long
from tests.helpers.pipelines import pipeline, tiny_pixart
from tests.helpers.repository import ROOT

WORDS = ["a", "photo", "of", "bag"]


@pytest.fixture(scope="module")
def clip():
    return CLIPTokenizer.from_pretrained(ROOT / "resources/mini-unet", subfolder="tokenizer")  # reads 20 tokens


@pytest.fixture(scope="module")
def t5():
    """Return a tokenizer of T5's class, one token per word and one for the end."""
    pieces = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")] + [(f"\u2581{word}", -1.0) for word in WORDS]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def test_the_limit_of_t5_is_the_pipeline_s(t5):
    pixart = PixArtAlphaPipeline(t5, None, None, tiny_pixart(), DDIMScheduler())
    refuse_long(pixart, ["a " * 119])
    with pytest.raises(ValueError, match=r"has 121 tokens; PixArtAlphaPipeline reads 120 and would drop the rest"):
        refuse_long(pixart, ["a bag", "a " * 120])


def test_it_is_enough_that_one_text_encoder_reads_all(clip, t5):
    parts = {"scheduler": FlowMatchEulerDiscreteScheduler(), "vae": None, "transformer": None}
    flux = FluxPipeline(**parts, text_encoder=None, tokenizer=clip, text_encoder_2=None, tokenizer_2=t5)
    refuse_long(flux, ["a " * 100])
    with pytest.raises(ValueError, match=r"has 513 tokens; FluxPipeline reads 512"):
        refuse_long(flux, ["a " * 512])


def test_conditions_and_classes_are_known():
    assert condition_of(pipeline("dit")) == "class_labels"
    assert condition_of(pipeline("text")) == "prompt"
    dit = pipeline("dit")
    assert list(class_names(dit)) == list(range(1000))
    dit.labels = {"tench": 0, "Tinca tinca": 0, "goldfish": 1}
    assert class_names(dit) == {0: "tench, Tinca tinca", 1: "goldfish"}


def test_a_pipeline_without_a_condition_is_refused():
    class Unconditional:
        def __call__(self, batch_size=1):
            """Generate."""

    with pytest.raises(TypeError, match="Unconditional takes neither a prompt nor class labels: self, batch_size"):
        condition_of(Unconditional())
