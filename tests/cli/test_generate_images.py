"""`bigain generate-images`: the same noise with and without compression, one page, and the message of every fault."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DiffusionPipeline, DiTPipeline
from PIL import Image
from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.core.columns import columns_of
from bigain.core.rng import torch_generator
from bigain.jobs import pictures as job
from tests.helpers.pipelines import pipeline, xl_pipeline_with_text
from tests.helpers.repository import ROOT

UNET, DIT = str(ROOT / "resources/mini-unet"), str(ROOT / "resources/mini-dit")
BAG, SHIRT = "a photo of a bag", "a photo of a shirt"


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text(f"{BAG}\n{SHIRT}\n")
    return str(tmp_path / "prompts.txt")


@pytest.fixture(scope="module")
def tiny_dit_folder(tmp_path_factory):
    """Return the folder of a tiny DiT in colour, with classes that have no names."""
    folder = tmp_path_factory.mktemp("dit")
    pipeline("dit").save_pretrained(folder)
    return str(folder)


def generate(out, *arguments, steps=2):
    return CliRunner().invoke(
        app, ["generate-images", "--out", str(out), "--device", "cpu", "--steps", str(steps), *arguments]
    )


def refusal(out, *arguments):
    completed = generate(out, *arguments)
    assert completed.exit_code == 2, completed.output
    assert not out.exists()
    return " ".join(completed.stderr.split())


def read(out, row, arm):
    return np.asarray(Image.open(out / row[arm]))


def test_both_images_of_a_pair_start_from_the_same_keyed_noise(tmp_path, prompts):
    out = tmp_path / "out"
    completed = generate(out, "--model", UNET, "--prompts", prompts, "--method", "bigain_tm", "--ratio", "0.5")
    assert completed.exit_code == 0, completed.output
    assert f"2 pairs of images: {out}/index.html" in completed.output
    rows = pd.read_csv(out / "images.csv").to_dict("records")
    assert [row["prompt"] for row in rows] == [BAG, SHIRT]
    pipe = DiffusionPipeline.from_pretrained(UNET)
    expected = pipe([SHIRT], num_inference_steps=2, generator=torch_generator(0, "picture", SHIRT, 0)).images[0]
    assert np.array_equal(read(out, rows[1], "uncompressed"), np.asarray(expected))
    for row in rows:
        before, after = (read(out, row, arm).astype(float) for arm in ("uncompressed", "compressed"))
        assert row["mean_absolute_difference"] == pytest.approx(np.abs(before - after).mean())
        assert row["psnr"] == pytest.approx(20 * np.log10(255 / np.sqrt(((before - after) ** 2).mean())))
        assert min(row["uncompressed_seconds"], row["compressed_seconds"]) > 0
    settings = json.loads((out / "settings.json").read_text())
    assert [block["kept"] for block in settings["compressed"]] == [128] * 5
    assert settings["method"] == "bigain_tm"


def test_an_image_does_not_depend_on_the_other_prompts(tmp_path, prompts):
    (tmp_path / "one.txt").write_text(SHIRT)
    for name, listed in (("a", prompts), ("b", str(tmp_path / "one.txt"))):
        assert generate(tmp_path / name, "--model", UNET, "--prompts", listed).exit_code == 0
    rows = [pd.read_csv(tmp_path / name / "images.csv").to_dict("records")[-1] for name in "ab"]
    both = [read(tmp_path / name, row, "uncompressed") for name, row in zip("ab", rows, strict=True)]
    assert np.array_equal(*both)
    assert np.isnan([rows[0]["psnr"], rows[0]["compressed_seconds"]]).all()
    assert not (tmp_path / "a/compressed").exists()


def test_classes_are_generated_with_the_model_s_names(tmp_path):
    out = tmp_path / "out"
    chosen = ["--class-ids", "8,0", "--images-per-prompt", "2", "--method", "todo", "--factor", "2", "--seed", "3"]
    assert generate(out, "--model", DIT, *chosen).exit_code == 0
    frame = pd.read_csv(out / "images.csv")
    assert list(frame.columns) == list(columns_of("generated images"))
    assert frame["class_name"].tolist() == ["bag", "bag", "t-shirt", "t-shirt"]
    assert frame["number"].tolist() == [0, 1, 0, 1]
    images = [read(out, row, "uncompressed") for row in frame.to_dict("records")]
    assert not any(np.array_equal(images[a], images[b]) for a in range(4) for b in range(a))
    assert frame["seed"].tolist() == [3] * 4


def test_colours_and_names_of_the_list_are_used(tmp_path, tiny_dit_folder):
    (tmp_path / "ids.txt").write_text("5 a <b>bold</b> class\n")
    out = tmp_path / "out"
    completed = generate(out, "--model", tiny_dit_folder, "--class-ids", str(tmp_path / "ids.txt"), "--guidance", "1.5")
    assert completed.exit_code == 0, completed.output
    (row,) = pd.read_csv(out / "images.csv").to_dict("records")
    assert read(out, row, "uncompressed").shape == (32, 32, 3)
    page = (out / "index.html").read_text()
    assert "class 5: a &lt;b&gt;bold&lt;/b&gt; class" in page
    assert "<td>1.5</td>" in page


def test_a_pipeline_with_two_text_encoders_is_compressed(tmp_path, prompts):
    xl_pipeline_with_text().save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    model = ["--model", str(tmp_path / "model"), "--prompts", prompts]
    completed = generate(out, *model, "--method", "bigain_tm", "--ratio", "0.5")
    assert completed.exit_code == 0, completed.output
    settings = json.loads((out / "settings.json").read_text())
    assert settings["pipeline"] == "StableDiffusionXLPipeline"
    assert all(block["kept"] < block["tokens"] for block in settings["compressed"])
    assert (pd.read_csv(out / "images.csv")["mean_absolute_difference"] > 0).all()


def test_the_page_is_self_contained_and_links_to_its_files(tmp_path, prompts):
    out = tmp_path / "out"
    assert (
        generate(out, "--model", UNET, "--prompts", prompts, "--method", "tome_fixed", "--ratio", "0.3").exit_code == 0
    )
    page = (out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    assert all((out / link).is_file() for link in re.findall('href="([^"]+)"', page))
    assert "uncompressed | ToMe" in page
    assert "PSNR" in page


def test_nothing_is_left_of_a_failed_run(tmp_path, prompts, monkeypatch):
    monkeypatch.setattr(job, "_difference", lambda *_: 1 / 0)
    completed = generate(tmp_path / "out", "--model", UNET, "--prompts", prompts, "--method", "todo", "--factor", "2")
    assert isinstance(completed.exception, ZeroDivisionError)
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere", "--class-ids", "1"], "nowhere is not a diffusers pipeline folder: model_index.json is"),
        (["--model", UNET], "give either prompts or class ids"),
        (["--model", UNET, "--class-ids", "1"], "StableDiffusionPipeline is conditioned on text: give prompts, not"),
        (["--model", DIT, "--class-ids", "9,10"], "class id 10 is not one of DiTPipeline's 10 classes, from 0 to 9"),
        (["--model", DIT, "--class-ids", "x.txt"], "x.txt is missing: a text file with class ids, one per line, is"),
        (["--model", DIT, "--class-ids", "1", "--method", "bigain"], "unknown method 'bigain'. Did you mean 'bigain_"),
        (["--model", DIT, "--class-ids", "1", "--ratio", "0.5"], "none takes no strength, not ratio=0.5"),
        (["--model", DIT, "--class-ids", "1", "--method", "todo", "--ratio", "0.5"], "todo takes a whole downsample"),
        (["--model", DIT, "--class-ids", "1", "--method", "tome", "--ratio", "0.99"], "0.99"),
        (["--model", DIT, "--class-ids", "1", "--method", "dip_go"], "dip_go needs calibration=FILE"),
        (["--model", DIT, "--class-ids", "1", "--dtype", "fp16"], "dtype one of float32, float16, bfloat16, not"),
        (["--model", DIT, "--class-ids", "1", "--device", "gpu"], "device is cpu, cuda or auto"),
        (["--model", DIT, "--class-ids", "1", "--guidance", "nan"], "guidance is nan; it has to be a finite number"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arguments, message):
    assert message in refusal(tmp_path / "out", *arguments)


def test_prompts_for_classes_and_an_existing_folder_are_refused(tmp_path, prompts):
    assert "DiTPipeline is conditioned on classes: give class ids, not prompts" in refusal(
        tmp_path / "out", "--model", DIT, "--prompts", prompts
    )
    completed = generate(tmp_path, "--model", UNET, "--prompts", prompts)
    assert completed.exit_code == 2
    assert f"{tmp_path} exists, and nothing is overwritten" in " ".join(completed.stderr.split())


def test_a_prompt_beyond_the_tokenizer_s_limit_is_refused(tmp_path):
    (tmp_path / "prompts.txt").write_text(f"{BAG}\na photo of {'a very ' * 20} long bag")
    message = refusal(tmp_path / "out", "--model", UNET, "--prompts", str(tmp_path / "prompts.txt"))
    assert "'a photo of a very a very" in message
    assert "StableDiffusionPipeline reads 20 and would drop the rest: shorten it" in message


def test_a_folder_without_its_weights_is_refused(tmp_path):
    shutil.copytree(DIT, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    message = refusal(tmp_path / "out", "--model", str(tmp_path / "model"), "--class-ids", "1")
    assert f"{tmp_path}/model could not be loaded as a diffusers pipeline" in message


def test_a_pipeline_that_needs_an_image_is_refused(tmp_path):
    (tmp_path / "prompts.txt").write_text(BAG)
    shutil.copytree(UNET, tmp_path / "model")
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    index["_class_name"] = "StableDiffusionImg2ImgPipeline"
    (tmp_path / "model/model_index.json").write_text(json.dumps(index))
    message = refusal(tmp_path / "out", "--model", str(tmp_path / "model"), "--prompts", str(tmp_path / "prompts.txt"))
    assert "StableDiffusionImg2ImgPipeline does not generate from prompt, steps and guidance alone: " in message


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    pipe = pipeline("dit")
    with torch.no_grad():
        pipe.vae.decoder.conv_out.bias.fill_(torch.nan)
    pipe.save_pretrained(tmp_path / "model")
    message = refusal(tmp_path / "out", "--model", str(tmp_path / "model"), "--class-ids", "1")
    assert "1, image 0, uncompressed: its pixels are not finite; half precision overflows" in message


def test_what_the_safety_checker_blacked_out_is_marked(tmp_path, tiny_dit_folder, monkeypatch):
    called = DiTPipeline.__call__

    def flagging(self, class_labels, **options):
        output = called(self, class_labels, **options)
        output.nsfw_content_detected = [class_labels == [2]]
        return output

    monkeypatch.setattr(DiTPipeline, "__call__", flagging)
    assert generate(tmp_path / "out", "--model", tiny_dit_folder, "--class-ids", "1,2").exit_code == 0
    assert pd.read_csv(tmp_path / "out/images.csv")["flagged"].tolist() == [False, True]
    assert "blacked out 1 of 2 images" in (tmp_path / "out/index.html").read_text()
