"""The committed models are as good as resources/README.md says; minutes long, run by `make test-slow`."""

import pandas as pd
import pytest
import torch

from bigain import backbones
from bigain.backbones.images import to_float
from bigain.classifier.classify import ClassificationSettings, classify_images
from bigain.classifier.timesteps import Stages
from bigain.compression.attachment import Uncompressed
from bigain.datasets import load
from bigain.datasets.photos import crops
from bigain.metrics import accuracy as acc

IMAGES = 200


@pytest.mark.slow
@pytest.mark.parametrize(("family", "stated"), [("unet", 87.6), ("dit", 85.8), ("mmdit", 81.1)])
def test_uncompressed_accuracy(root, family, stated):
    """The stated accuracy (1,000 images, the flow model 180) lies below the upper end of this sample's interval."""
    dataset = load({"reader": "fashion", "path": root / "resources/fashion"}).first(IMAGES)
    backbone = backbones.load(family, root / f"resources/mini-{family}")
    latents = backbone.encode_images(to_float(crops(dataset, range(IMAGES), size=32, channels=1)))
    candidates = backbone.conditions(list(dataset.prompts), list(dataset.class_ids))
    settings = ClassificationSettings(Stages((5, 20), (5, 1)), seed=0, batch_size=50)
    trials = []
    for block in torch.arange(IMAGES).split(20):
        ids = [dataset.ids[i] for i in block.tolist()]
        trials += classify_images(backbone, latents[block], ids, candidates, settings, Uncompressed())
    frame = pd.DataFrame([(t.image, t.class_index, t.t, t.stage, t.error) for t in trials])
    frame.columns = ["image", "class", "t", "stage", "error"]
    labels = dict(zip(dataset.ids, dataset.labels, strict=True))
    assert acc.accuracy(acc.correct(acc.decisions(frame), labels)).high >= stated


@pytest.mark.parametrize("name", ["mini-unet", "mini-dit", "mini-mmdit"])
def test_plain_diffusers_loads_them(root, name):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(root / "resources" / name)
    if name == "mini-dit":
        assert pipeline.get_label_ids(["ankle boot"]) == [9]
    else:
        assert pipeline.tokenizer.model_max_length == 20
    size = sum(file.stat().st_size for file in (root / "resources").rglob("*"))
    assert size < 30e6
