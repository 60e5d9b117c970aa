"""What comes before the cells: unreadable images, real images' features, conditions."""

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_activation_statistics, compute_statistics_of_path
from safetensors.torch import load_file
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.core.files import sha256
from bigain.jobs.encode import encode_conditions, encode_images
from bigain.jobs.reference import reference_features
from tests.helpers import official_layouts
from tests.helpers.own_images import labelled, picture
from tests.helpers.random_pipelines import dit, inception_weights, pytorch_fid_network, stable_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small pipeline, and Pets of which two test images are damaged and missing."""
    folder = tmp_path_factory.mktemp("inputs")
    stable_diffusion(folder / "model", small=True)
    official_layouts.write_pets(folder / "pets")
    (folder / "pets/images/Abyssinian_2.jpg").unlink()
    (folder / "pets/images/Abyssinian_2.jpg").write_bytes(official_layouts.photo(0)[:200])
    (folder / "pets/images/Abyssinian_5.jpg").unlink()
    return folder


def spec(folder, **more):
    backbone = {"id": "small", "family": "unet", "path": str(folder / "model"), "dtype": "float32", "device": "cpu"}
    dataset = {"id": "pets", "reader": "pets", "path": str(folder / "pets"), "allow_missing": 0}
    return {"backbone": backbone, "dataset": dataset} | more


def test_all_unreadable_images_are_named_and_nothing_is_written(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"2 images cannot be read.*Abyssinian_2\.jpg is damaged.*Abyssinian_5\.jpg is mis"
    ):
        encode_images(spec(folder, images=8), tmp_path / "latents.safetensors")
    assert not list(tmp_path.iterdir())


def test_allowed_ones_are_named_and_marked(folder, tmp_path, capsys):
    job = spec(folder, images=8)
    job["dataset"]["allow_missing"] = 2
    encode_images(job, tmp_path / "latents.safetensors")
    stored = load_file(tmp_path / "latents.safetensors")
    assert stored["latents"].shape == (8, 4, 8, 8)
    assert stored["unreadable"].tolist() == [1, 4]
    empty = stored["latents"].flatten(1).abs().sum(1) == 0
    assert empty.nonzero().flatten().tolist() == [1, 4]
    assert capsys.readouterr().out.count("left out:") == 2


def test_conditions_of_candidates_and_of_each_caption_once(folder, tmp_path):
    encode_conditions(spec(folder, captions=200), tmp_path / "conditions.safetensors")
    stored = load_file(tmp_path / "conditions.safetensors")
    assert stored["candidates"].shape == (37, 77, 16)
    breeds = 200 * 37 // 3669 + 1
    assert stored["captions"].shape == (breeds, 77, 16)
    assert torch.allclose(stored["captions"][stored["caption_of_image"][0]], stored["candidates"][0], atol=1e-5)


def test_classes_that_share_a_prompt_stay_two_classes_of_a_dit(tmp_path):
    dit(tmp_path / "model", small=True)
    imagenet = official_layouts.write_imagenet(tmp_path / "imagenet")
    backbone = {"id": "small", "family": "dit", "path": str(tmp_path / "model"), "dtype": "float32", "device": "cpu"}
    dataset = {"id": "imagenet1k", "reader": "imagenet1k", "path": str(imagenet)}
    job = {"backbone": backbone, "dataset": dataset, "captions": 50_000}
    encode_conditions(job, tmp_path / "conditions.safetensors")
    stored = load_file(tmp_path / "conditions.safetensors")
    classes = stored["captions"][stored["caption_of_image"]]
    assert classes.tolist() == [c for c in range(1000) for _ in range(50)]
    assert stored["candidates"].tolist() == list(range(1000))


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """The file of an Inception's random weights, and pytorch-fid's own network with them."""
    weights = inception_weights(tmp_path_factory.mktemp("inception") / "inception.pth")
    return weights, pytorch_fid_network(weights)


@pytest.mark.parametrize("crop", ["centre", "squash"])
def test_real_features_are_pytorch_fids(inception, tmp_path, crop):
    """Squash: photos as they are, one by one, as `pytorch-fid --batch-size 1` does; both: its statistics."""
    (weights, model), small = inception, tmp_path / "pets"
    official_layouts.write_pets(small, size=30)
    recipe = {"crop": crop, "size": 48, "filter": "bicubic", "batch": 5}
    network = {"name": "inception", "weights": str(weights), "sha256": sha256(weights)}
    dataset = {"id": "pets", "reader": "pets", "path": str(small), "allow_missing": 0, "subset": str(tmp_path / "list")}
    (tmp_path / "list").write_text("\n".join(map(str, range(12))))
    job = {"dataset": dataset, "feature_network": network, "recipe": recipe, "device": "cpu"}
    reference_features(job, tmp_path / "real.safetensors")
    stored = {name: tensor.numpy() for name, tensor in load_file(tmp_path / "real.safetensors").items()}
    assert stored["features"].shape == (12, 2048)

    files = [small / "images" / f"Abyssinian_{k}.jpg" for k in range(1, 13)]
    if crop == "centre":
        from bigain.datasets.photos import Store, centre_crop

        cropped = [centre_crop(Store(small / "images").open(file.name), 48).convert("RGB") for file in files]
        files = [tmp_path / f"{k}.png" for k in range(12)]
        for image, file in zip(cropped, files, strict=True):
            image.save(file)
    mu, sigma = calculate_activation_statistics(files, model, batch_size=1, dims=2048, device="cpu", num_workers=0)
    assert np.allclose(stored["mu"], mu, atol=1e-4)
    assert np.allclose(stored["sigma"], sigma, atol=1e-4)
    arguments = [
        "statistics",
        "--reference",
        str(tmp_path / "real.safetensors"),
        "--output",
        str(tmp_path / "real.npz"),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    read_mu, read_sigma = compute_statistics_of_path(str(tmp_path / "real.npz"), model, 1, 2048, "cpu")
    assert np.array_equal(read_mu, stored["mu"])
    assert np.array_equal(read_sigma, stored["sigma"])


def test_a_folder_of_images_is_encoded_with_its_captions_which_begin_anew(folder, tmp_path):
    rows = "file,labels,caption\na.png,cat|dog,a cat and a dog\nb.png,,nobody\nc.png,dog,a dog\n"
    dataset = {"id": "mine", "allow_missing": 0, **labelled(tmp_path / "mine", rows)}
    picture(tmp_path / "mine" / "c.png", 5, size=(90, 70), mode="RGB")
    job = {**spec(folder), "dataset": dataset}
    encode_images(job | {"images": 3}, tmp_path / "latents.safetensors")
    latents = load_file(tmp_path / "latents.safetensors")
    assert latents["unreadable"].tolist() == []
    assert (latents["latents"].flatten(1).abs().sum(1) > 0).all()
    encode_conditions(job | {"captions": 7}, tmp_path / "conditions.safetensors")
    stored = load_file(tmp_path / "conditions.safetensors")
    assert stored["candidates"].shape == (2, 77, 16)
    assert stored["caption_of_image"].tolist() == [0, 2, 1, 0, 2, 1, 0]  # in the sorted order of distinct captions


def test_features_are_those_of_all_images_of_another_folder(tmp_path, root):
    for k in range(3):
        picture(tmp_path / "real" / "deep" / f"{k}.webp", k)
    weights = root / "resources/fashion-net/fashion-net.safetensors"
    job = {
        "dataset": {"id": "mine", "reader": "pictures", "path": str(tmp_path / "real"), "allow_missing": 0},
        "feature_network": {"name": "fashion-net", "weights": str(weights), "sha256": sha256(weights)},
        "recipe": {"crop": "centre", "size": 32, "filter": "bicubic", "batch": 2},
        "device": "cpu",
    }
    reference_features(job, tmp_path / "real.safetensors")
    assert load_file(tmp_path / "real.safetensors")["features"].shape == (3, 64)
