"""Models and pipelines that methods do not fit: each is named, with what to do, and nothing is attached to it."""

import diffusers
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    StableDiffusionPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    UNet3DConditionModel,
    WanTransformer3DModel,
)

import bigain
from tests.helpers.models import run_unet, tiny_unet
from tests.helpers.pipelines import generated, pipeline

SMALL = {"sample_size": 16, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 8}
CROSSED = {"cross_attention_dim": 16, "attention_head_dim": 8}
CROSS_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
SIMPLE_BLOCKS = {
    "down_block_types": ("SimpleCrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("UpBlock2D", "SimpleCrossAttnUpBlock2D"),
}
BLOCKS_3D = {
    "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
}
SMALL_DREAM = SMALL | {
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "down_block_types": ("DreamLiteDownBlock2D", "DreamLiteCrossAttnDownBlock2D"),
    "up_block_types": ("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
}


class TwoExperts(DiffusionPipeline):
    """As Wan 2.2, which has a denoiser for high noise and one for low noise."""

    def __init__(self, transformer, transformer_2):
        super().__init__()
        self.register_modules(transformer=transformer, transformer_2=transformer_2)


def wan():
    return WanTransformer3DModel(
        num_attention_heads=1, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, freq_dim=8, ffn_dim=16,
        num_layers=1,
    )  # fmt: skip


def prior():
    transformer = PriorTransformer(num_attention_heads=1, attention_head_dim=8, embedding_dim=8, num_layers=1)
    return KandinskyV22PriorPipeline(transformer, None, None, None, UnCLIPScheduler(), None)


def without_unet():
    euler = EulerDiscreteScheduler(steps_offset=1)
    return StableDiffusionPipeline(None, None, None, None, euler, None, None, requires_safety_checker=False)


BAD = {
    "a path": (lambda: "resources/mini-unet", TypeError, r"'resources/mini-unet' is not a model: .* loaded pipelines"),
    "nothing": (lambda: None, TypeError, "None is not a model"),
    "a class": (lambda: UNet2DConditionModel, TypeError, "is not a model"),
    "an unconditional U-Net": (
        lambda: UNet2DModel(**SMALL, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2),
        TypeError,
        "UNet2DModel is not supported: UNet2DConditionModel, ",
    ),
    "a video U-Net": (
        lambda: UNet3DConditionModel(**SMALL, **CROSSED, **BLOCKS_3D),
        TypeError,
        "UNet3DConditionModel is not supported",
    ),
    "a video transformer": (wan, TypeError, "WanTransformer3DModel is not supported"),
    "a control network": (
        lambda: ControlNetModel.from_unet(tiny_unet(), conditioning_embedding_out_channels=(8, 8)),
        TypeError,
        "ControlNetModel is not supported",
    ),
    "a U-Net without transformer blocks": (
        lambda: UNet2DConditionModel(**SMALL, **CROSSED, **SIMPLE_BLOCKS),
        ValueError,
        "UNet2DConditionModel has no transformer block that methods can compress: its 4 self-attention layers, "
        r"such as down_blocks\.0\.attentions\.0, are in SimpleCrossAttn.* and UNetMidBlock2DSimpleCrossAttn, where ",
    ),
    "a U-Net of pairs of transformers": (
        lambda: UNet2DConditionModel(**SMALL, **CROSSED, **CROSS_BLOCKS, dual_cross_attention=True),
        ValueError,
        r"such as down_blocks\.0\.attentions\.0\.transformers\..*\.attn1, are in DualTransformer2DModel, ",
    ),
    "a U-Net that attends to the prompt only": (
        lambda: UNet2DConditionModel(
            **SMALL, **CROSSED, **CROSS_BLOCKS, only_cross_attention=True, mid_block_type=None
        ),
        ValueError,
        "no transformer block that methods can compress: it has no self-attention",
    ),
    "two experts": (
        lambda: TwoExperts(wan(), wan()),
        TypeError,
        r"several denoisers, transformer and transformer_2: compress each .*bigain\.apply\(pipe\.transformer_2, ",
    ),
    "a prior": (prior, TypeError, "KandinskyV22PriorPipeline has no unet and no transformer.*; it has .*prior"),
    "a pipeline without its U-Net": (without_unet, TypeError, "no transformer.*; it has image_processor|it has sched"),
}

if hasattr(diffusers, "DreamLiteUNetModel"):  # in later releases
    BAD["a U-Net with blocks of another kind"] = (
        lambda: diffusers.DreamLiteUNetModel(**SMALL_DREAM),
        ValueError,
        r"DreamLiteUNetModel has no transformer block that .* are in DreamLiteTransformer2DModel, where methods do not",
    )


@pytest.mark.parametrize("case", BAD)
def test_what_methods_do_not_fit_is_named(case):
    build, error, message = BAD[case]
    model = build()
    with pytest.raises(error, match=message):
        bigain.apply(model, "bigain_tm", ratio=0.5)
    with pytest.raises(error, match=message), bigain.compressed(model, "todo", factor=2):
        pass


def test_blocks_that_attend_to_the_prompt_only_are_left_out():
    """As in the Stable Diffusion upscaler, whose highest resolutions have no self-attention."""
    torch.manual_seed(0)
    network = UNet2DConditionModel(**SMALL, **CROSSED, **CROSS_BLOCKS, only_cross_attention=(True, False)).eval()
    plain = run_unet(network)
    with bigain.compressed(network, "bigain_tm", ratio=0.5) as attachment:
        assert {str(site.grid) for site in attachment.sites} == {"8x8"}
        assert not torch.equal(run_unet(network), plain)
    assert torch.equal(run_unet(network), plain)


def test_self_attention_outside_of_transformer_blocks_is_named_once(caplog):
    """In SimpleCrossAttnDownBlock2D, the keys of the image follow those of the prompt."""
    kinds = {
        "down_block_types": ("SimpleCrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "AttnUpBlock2D"),
    }
    network = UNet2DConditionModel(**SMALL, **CROSSED, **kinds)
    for _ in range(2):
        with bigain.compressed(network, "bigain_tm", ratio=0.5) as attachment:
            assert {site.block.place for site in attachment.sites} == {1}
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(
        "3 self-attention layers of this UNet2DConditionModel are of kinds that no method compresses"
    )
    assert warning.endswith(": down_blocks.0.attentions.0, up_blocks.1.attentions.0, up_blocks.1.attentions.1")
    caplog.clear()
    for plain in (tiny_unet(), UNet2DConditionModel(**SMALL, **CROSSED, **CROSS_BLOCKS, only_cross_attention=True)):
        bigain.apply(plain, "bigain_tm", ratio=0.5)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_control_network_beside_the_denoiser_is_left_alone():
    pipe = pipeline("controlnet")
    tokens = []
    handle = next(
        module.attn1 for module in pipe.controlnet.modules() if hasattr(module, "attn1")
    ).to_k.register_forward_hook(lambda module, args, output: tokens.append(output.shape[1]))
    with bigain.compressed(pipe, "todo", factor=2):
        generated(pipe, "controlnet")
    handle.remove()
    assert set(tokens) == {256}
