"""Addresses and checksums of what `bigain fetch` downloads. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file to download; `checksum` is its hexadecimal md5, or the sha256 of a model's weights."""

    url: str
    checksum: str


# pytorch-fid's Inception, the only network whose Fréchet distance is called FID.
INCEPTION = Download(
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
COCO = (
    Download("http://images.cocodataset.org/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    Download(
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        "f4bbac642086de4f52a3fdda2de5fa2c",
    ),
)
PETS = (
    Download("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
    Download("https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f"),
)
# Not to be passed on; whoever has agreed to ImageNet's terms gets them from image-net.org.
IMAGENET = ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")
