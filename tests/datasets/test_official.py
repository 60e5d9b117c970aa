"""Readers of the official layouts at their full size: their content, and the messages about missing parts."""

import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from bigain import datasets
from bigain.datasets import imagenet, integrity, photos
from bigain.datasets.base import UnreadableImage
from tests.helpers import official_layouts


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return official_layouts.write_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return official_layouts.write_coco(tmp_path_factory.mktemp("coco"), zipped=False)


@pytest.fixture(scope="module")
def zipped_coco(tmp_path_factory):
    return official_layouts.write_coco(tmp_path_factory.mktemp("zipped"), zipped=True)


@pytest.fixture(scope="module")
def imagenet_folder(tmp_path_factory):
    return official_layouts.write_imagenet(tmp_path_factory.mktemp("imagenet"))


def settings(reader, path, **more):
    return {"reader": reader, "path": str(path), **more}


def copied(source, target):
    """Copy a folder in order to damage it; the copy shares no hard links with the original."""
    shutil.copytree(source, target)
    return target


# -- Pets


def test_pets_has_3669_test_images_of_37_breeds(pets):
    dataset = datasets.load(settings("pets", pets))
    assert (len(dataset), len(dataset.prompts)) == (3669, 37)
    assert dataset.prompts[0] == "a photo of a Abyssinian, a type of pet"
    assert dataset.captions[0] == dataset.prompts[dataset.labels[0][0]]
    assert dataset.class_ids is None
    assert not dataset.multi_label
    assert integrity.problems(settings("pets", pets)) == []


def test_released_prompts_name_the_species_but_for_one_breed(pets):
    prompts = dict(
        zip(*[getattr(datasets.load(settings("pets", pets, prompts="released")), n) for n in NAMES], strict=True)
    )
    assert prompts["Abyssinian"] == "a photo of a Abyssinian cat, a type of pet."
    assert prompts["Beagle"] == "a photo of a Beagle dog, a type of pet."
    assert prompts["American Bulldog"] == "a photo of a American Bulldog, a type of pet."


NAMES = ("class_names", "prompts")


def test_every_prefix_of_the_training_split_is_balanced(pets):
    dataset = datasets.load(settings("pets_trainval", pets))
    assert len(dataset) == 3680
    assert set(Counter(dataset.first(74).labels).values()) == {2}


def test_the_released_reference_is_the_whole_folder(pets):
    dataset = datasets.load(settings("pets_all", pets))
    assert len(dataset) == 3669 + 3680 + 2
    assert "images/Abyssinian_901.jpg" in dataset.files


def test_missing_pets_are_counted_and_allowed(pets, tmp_path):
    folder = copied(pets, tmp_path / "pets")
    for name in ("Abyssinian_1", "beagle_3"):
        (folder / "images" / f"{name}.jpg").unlink()
    (problem,) = integrity.problems(settings("pets", folder))
    assert "2 images cannot be read, and allow_missing is 0: images/Abyssinian_1.jpg is missing" in problem
    assert integrity.problems(settings("pets", folder, allow_missing=2)) == []


def test_a_shorter_list_is_another_data_set(pets, tmp_path):
    folder = copied(pets, tmp_path / "pets")
    path = folder / "annotations" / "test.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    (problem,) = integrity.problems(settings("pets", folder))
    assert "its lists name 3668 images; the official ones 3669" in problem


def test_a_broken_list_is_named_with_its_line(pets, tmp_path):
    folder = copied(pets, tmp_path / "pets")
    path = folder / "annotations" / "test.txt"
    path.write_text("Abyssinian_1 1 3 1\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 1: 'Abyssinian_1 1 3 1' is not"):
        datasets.load(settings("pets", folder))


@pytest.mark.parametrize(
    ("reader", "needs"),
    [
        ("pets", r"annotations/test\.txt is missing.*bigain fetch pets"),
        ("imagenet1k", r"no val/<wnid>/ folder.*image-net\.org.*--archives"),
        ("imagenet100", r"no val/<wnid>/ folder of imagenet100, such as val/n"),
        ("coco2017", r"holds none of images/val2017.*bigain fetch coco2017"),
    ],
)
def test_an_empty_folder_is_an_error_that_names_what_belongs_there(reader, needs, tmp_path):
    with pytest.raises(FileNotFoundError, match=needs):
        datasets.load(settings(reader, tmp_path))
    (problem,) = integrity.problems(settings(reader, tmp_path))
    assert str(tmp_path) in problem


def test_what_was_fetched_is_compared_with_a_sample_of_its_checksums(pets, tmp_path):
    folder = copied(pets, tmp_path / "pets")
    integrity.record_checksums("pets", str(folder))
    integrity.record_checksums("pets_trainval", str(folder))
    assert integrity.problems(settings("pets", folder)) == []
    first = folder / "images" / "Abyssinian_1.jpg"
    first.unlink()
    first.write_bytes(official_layouts.photo(77))
    (problem,) = integrity.problems(settings("pets", folder))
    assert "images/Abyssinian_1.jpg: sha256 is" in problem
    assert integrity.problems(settings("pets_trainval", folder)) == []


# -- ImageNet


def test_imagenet_has_50_images_of_each_class_in_sorted_order(imagenet_folder):
    dataset = datasets.load(settings("imagenet1k", imagenet_folder))
    assert len(dataset) == 50_000
    assert dataset.labels[50 * 7 + 49] == (7,)
    assert dataset.files[50 * 7 : 50 * 8] == sorted(dataset.files[50 * 7 : 50 * 8])
    assert dataset.class_ids == tuple(range(1000))
    assert len(set(dataset.prompts)) == 998
    assert [dataset.prompts.count(f"a photo of a {name}") for name in ("missile", "sunglasses")] == [2, 2]
    assert dataset.prompts[999] == "a photo of a toilet paper"


def test_the_subset_is_the_first_two_of_each_class(imagenet_folder):
    dataset = datasets.load(settings("imagenet1k", imagenet_folder, subset="first_two_of_each_class"))
    assert len(dataset) == 2000
    assert set(Counter(dataset.labels).values()) == {2}
    assert dataset.ids[2:4] == [50, 51]
    positions = imagenet.first_two_of_each_class()
    assert imagenet.list_sha256(positions) == imagenet.SUBSET_SHA256


def test_a_subset_can_be_a_list(imagenet_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("49999\n3\n")
    dataset = datasets.load(settings("imagenet1k", imagenet_folder, subset=str(tmp_path / "mine.txt")))
    assert (dataset.ids, dataset.labels) == ([49999, 3], [(999,), (0,)])
    (tmp_path / "wrong.txt").write_text("3\n3\n")
    with pytest.raises(ValueError, match="distinct positions"):
        datasets.load(settings("imagenet1k", imagenet_folder, subset=str(tmp_path / "wrong.txt")))
    with pytest.raises(FileNotFoundError, match=r"none\.txt is missing"):
        datasets.load(settings("imagenet1k", imagenet_folder, subset=str(tmp_path / "none.txt")))


def test_imagenet100_keeps_the_class_numbers_of_the_model(imagenet_folder, tmp_path):
    dataset = datasets.load(settings("imagenet100", imagenet_folder))
    assert (len(dataset), len(dataset.prompts)) == (5000, 100)
    assert dataset.class_ids[:3] == (15, 45, 54)
    assert dataset.prompts[0] == "a photo of a American robin"
    only_100 = official_layouts.write_imagenet(tmp_path, imagenet.IMAGENET_100)
    assert datasets.load(settings("imagenet100", only_100)).files == dataset.files


def test_a_class_with_too_few_or_too_many_images(tmp_path):
    folder = official_layouts.write_imagenet(tmp_path, imagenet.IMAGENET_100)
    wnid, _ = imagenet.classes()[15]
    first = sorted((folder / "val" / wnid).iterdir())[0]
    first.unlink()
    (problem,) = integrity.problems(settings("imagenet100", folder))
    assert f"{wnid}/image 50 of 50 is missing" in problem
    for name in ("a.JPEG", "b.JPEG"):
        (folder / "val" / wnid / name).write_bytes(official_layouts.photo(0))
    with pytest.raises(ValueError, match=f"{wnid} holds 51 images"):
        datasets.load(settings("imagenet100", folder))


# -- COCO


def test_coco_has_several_labels_some_none_and_its_first_captions(coco):
    dataset = datasets.load(settings("coco2017", coco))
    assert (len(dataset), len(dataset.prompts)) == (5000, 80)
    assert dataset.ids == sorted(dataset.ids)
    assert sum(not labels for labels in dataset.labels) == 48
    assert dataset.multi_label
    assert dataset.class_names[0] == "thing 1"
    assert dataset.class_names[-1] == "thing 90"
    assert dataset.prompts[79] == "a photo of a thing 90"
    assert integrity.problems(settings("coco2017", coco)) == []


def test_a_caption_is_the_first_of_its_image_in_the_file(coco):
    import json

    stored = json.loads((coco / "annotations" / "captions_val2017.json").read_text())["annotations"]
    first = {}
    for caption in stored:
        first.setdefault(caption["image_id"], caption["caption"].strip())
    dataset = datasets.load(settings("coco2017", coco))
    assert list(dataset.captions) == [first[image] for image in dataset.ids]


def test_archives_are_read_without_unpacking(coco, zipped_coco):
    plain, zipped = (datasets.load(settings("coco2017", folder)) for folder in (coco, zipped_coco))
    for part in ("ids", "labels", "captions", "prompts"):
        assert getattr(plain, part) == getattr(zipped, part)
    assert plain.open(1).tobytes() == zipped.open(1).tobytes()
    assert integrity.problems(settings("coco2017", zipped_coco)) == []


def test_damaged_archives_are_named(zipped_coco, tmp_path):
    folder = copied(zipped_coco, tmp_path / "coco")
    archive = folder / "val2017.zip"
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as whole:
        start = whole.infolist()[0].header_offset
    content[start + 60 : start + 90] = bytes(30)
    archive.write_bytes(content)
    (problem,) = integrity.problems(settings("coco2017", folder))
    assert "is damaged (Bad CRC-32" in problem
    archive.write_bytes(content[:5000])
    (problem,) = integrity.problems(settings("coco2017", folder))
    assert "val2017.zip is not a complete zip file" in problem


def test_damaged_annotations_are_named(coco, tmp_path):
    folder = copied(coco, tmp_path / "coco")
    path = folder / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text()[:1000])
    with pytest.raises(ValueError, match=r"instances_val2017\.json is damaged"):
        datasets.load(settings("coco2017", folder))


# -- images


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(100, 73), (73, 100), (64, 64), (300, 65)])
def test_a_crop_equals_torchvision_s(tmp_path, mode, size):
    """`Resize(64, bicubic)`, `CenterCrop(64)`, then RGB: what the released code does."""
    (tmp_path / "photo.JPEG").write_bytes(official_layouts.photo(5, size, mode))
    image = photos.Store(tmp_path).open("photo.JPEG")
    resize = transforms.Resize(64, interpolation=transforms.InterpolationMode.BICUBIC)
    theirs = transforms.Compose([resize, transforms.CenterCrop(64)])(image).convert("RGB")
    ours = photos.pixels(photos.centre_crop(image, 64), channels=3)
    assert np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))


def test_a_damaged_image_is_named(tmp_path):
    whole = official_layouts.photo(0, (200, 200))
    (tmp_path / "cut.JPEG").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    store = photos.Store(tmp_path)
    for name in ("cut.JPEG", "text.jpg"):
        with pytest.raises(UnreadableImage, match=f"{name} is damaged"):
            store.open(name)
    with pytest.raises(UnreadableImage, match=r"none\.jpg is missing"):
        store.open("none.jpg")


def test_jpeg_of_quality_100_halves_the_resolution_of_colours():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    stored = photos.as_jpeg(image)
    luma, chroma = (
        np.abs(np.asarray(image.convert("YCbCr"), float) - np.asarray(stored.convert("YCbCr"), float))[..., c].mean()
        for c in (0, 1)
    )
    assert luma < 3 < chroma


def test_candidates_keep_their_images_and_are_renumbered(pets):
    dataset = datasets.load(settings("pets", pets, candidates=[5, 0]))
    assert dataset.class_names == ("Bengal", "Abyssinian")
    assert set(dataset.labels) == {(0,), (1,)}
    assert dataset.files[0].startswith("images/Abyssinian")
    assert dataset.labels[0] == (1,)
    with pytest.raises(ValueError, match="classes from 0 to 36"):
        datasets.load(settings("pets", pets, candidates=[0, 37]))


def test_a_fingerprint_sees_names_labels_and_content(pets, tmp_path):
    before = integrity.fingerprint("pets", str(pets))
    folder = copied(pets, tmp_path / "pets")
    assert integrity.fingerprint("pets", str(folder)) == before
    integrity.fingerprint.cache_clear()
    first = folder / "images" / "Abyssinian_1.jpg"
    first.unlink()
    first.write_bytes(official_layouts.photo(77))
    assert integrity.fingerprint("pets", str(folder)) != before


def test_pixels_reach_the_autoencoder_as_a_plain_diffusers_encode_would_have_them(tmp_path):
    """VAE mean, scaling and preprocessing (protocol 1.2): Resize, CenterCrop, RGB, [-1, 1], mean x 0.18215."""
    from diffusers import StableDiffusionPipeline

    from bigain import backbones
    from bigain.backbones.images import to_float
    from tests.helpers.random_pipelines import stable_diffusion

    folder = stable_diffusion(tmp_path / "model", small=True)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "photo.JPEG").write_bytes(official_layouts.photo(5, (100, 73), "CMYK"))
    image = photos.Store(tmp_path / "images").open("photo.JPEG")
    backbone = backbones.load("unet", folder)
    channels, size = backbone.image_shape
    assert (channels, size) == (3, 64)
    resize = transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC)
    plain = transforms.Compose(
        [
            resize,
            transforms.CenterCrop(size),
            transforms.Lambda(lambda picture: picture.convert("RGB")),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )(image)
    with torch.inference_mode():
        theirs = pipe.vae.encode(plain[None]).latent_dist.mean * 0.18215
    ours = backbone.encode_images(to_float(photos.pixels(photos.centre_crop(image, size), channels)[None]))
    assert torch.allclose(ours, theirs, atol=1e-5)
