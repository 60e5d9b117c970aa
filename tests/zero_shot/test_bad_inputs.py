"""What cannot be classified is an error that names it and says what to do, before anything is computed."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import bigain
from bigain.datasets.base import UnreadableImage

PROMPTS = ["a photo of a bag", "a photo of a coat"]


def on_prompts(root, candidates=PROMPTS, **options):
    return bigain.DiffusionClassifier(root / "resources/mini-unet", candidates, progress=False, **options)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], r"candidates are \[\]: a classifier chooses between at least two"),
        (["a photo of a bag"], "chooses between at least two"),
        (["a bag", "a coat", "a bag"], "candidate 'a bag' occurs twice"),
        (
            ["a bag", "a " * 25],
            r"the prompt 'a a .*' has 27 tokens; the model reads 20 and would drop the rest",
        ),
        (["a bag", " "], "candidates hold the empty prompt ' '"),
    ],
)
def test_candidates_that_cannot_be_told_apart_or_read(candidates, message, root):
    with pytest.raises(ValueError, match=message):
        on_prompts(root, candidates)


def test_a_prompt_in_place_of_a_list_of_prompts(root):
    with pytest.raises(
        TypeError, match="candidates are a list of prompts or class ids, or a mapping to them, not 'a b"
    ):
        on_prompts(root, "a bag")


def test_two_prompts_that_are_the_same_to_the_tokenizer(root):
    with pytest.raises(ValueError, match="'A photo of a bag' and 'a photo of a  bag' are the same to the model"):
        on_prompts(root, ["A photo of a bag", "a photo of a  bag"])
    with pytest.raises(ValueError, match="candidates 3 and 3 are the same to the model"):
        bigain.DiffusionClassifier(root / "resources/mini-dit", {"dress": 3, "coat": 3})


@pytest.mark.parametrize(
    ("model", "candidates", "kind", "message"),
    [
        ("mini-dit", PROMPTS, TypeError, "conditioned on class ids, 0 to 9, not on 'a photo of a bag'"),
        ("mini-dit", [0, True], TypeError, "conditioned on class ids, 0 to 9, not on True"),
        ("mini-dit", [0, 10], ValueError, "class id 10 does not exist: the model has 10 classes, 0 to 9"),
        ("mini-dit", [0, -1], ValueError, "class id -1 does not exist"),
        ("mini-unet", [0, 1], TypeError, "conditioned on prompts, not on 0"),
    ],
)
def test_candidates_of_the_other_kind(model, candidates, kind, message, root):
    with pytest.raises(kind, match=message):
        bigain.DiffusionClassifier(root / "resources" / model, candidates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "bigain_tn"}, "unknown method 'bigain_tn'. Did you mean 'bigain_tm'"),
        ({"method": "bigain_tm"}, "bigain_tm needs `ratio`: a merge ratio from 0"),
        ({"method": "bigain_tm", "ratio": 1.0}, "strength 1.0 is not allowed"),
        (
            {"method": "bigain_td", "ratio": 0.5},
            "bigain_td takes a whole downsample factor of at least 1 .*, not ratio=0.5",
        ),
        ({"method": "dip_go"}, "dip_go needs calibration=FILE"),
        ({"calibration": "pruned.safetensors"}, "none takes no calibration"),
        ({"stages": (5, 7), "keep": (5, 1)}, "each has to divide the last"),
        ({"stages": (1, 5, 20)}, r"stages \[1, 5, 20\]: say with `keep` how many classes survive"),
        ({"loss": "l3"}, "loss: unknown value 'l3'"),
        ({"compile": "fast"}, "compile: unknown value 'fast'"),
        ({"timesteps": "all"}, "timesteps: unknown value 'all'"),
        ({"weights": "exp(7t)"}, r"unknown weights 'exp\(7t\)'; allowed are uniform, exp\(-7t\)"),
        ({"dtype": "fp16"}, "dtype: unknown value 'fp16'. Allowed: float32, float16, bfloat16"),
        ({"dtype": torch.float16}, "dtype: unknown value 'torch.float16'"),
        ({"device": "gpu"}, "device is 'gpu'; allowed are auto, cpu, cuda, and any other device of PyTorch"),
        ({"batch_size": 0}, "batch_size is 0; it has to be at least 1"),
        ({"stages": (600,)}, "600 trials: their grid ends at t = 600 of 1000"),
        ({"temperature": -1}, "temperature is -1; it has to be positive"),
        ({"temperature": 0.0}, "temperature is 0.0; it has to be positive and finite, or None"),
    ],
)
def test_settings_that_are_not_allowed(options, message, root):
    with pytest.raises(ValueError, match=message):
        on_prompts(root, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 4}, r"stages: 4 is not a list of whole numbers, as in stages=\(5, 20\)"),
        ({"keep": 1}, "keep: 1 is not a list of whole numbers"),
        ({"temperature": "1"}, "temperature: '1' is not a number"),
        ({"elimination": (1, 2)}, r"elimination is \(1, 2\); pass a .*\.Elimination, or None"),
        ({"descent": 2}, r"descent is 2; pass a .*\.Descent, or None"),
    ],
)
def test_settings_of_another_type(options, message, root):
    with pytest.raises(TypeError, match=message):
        on_prompts(root, **options)


def test_a_parameter_that_does_not_exist_and_a_refused_change_leave_the_classifier_as_it_was(root):
    classifier = on_prompts(root)
    before = classifier.get_params()
    with pytest.raises(ValueError, match=r"unknown parameter 'temprature'. Did you mean 'temperature'"):
        classifier.set_params(temprature=1)
    with pytest.raises(ValueError, match="loss"):
        classifier.set_params(seed=4, loss="l3")
    assert classifier.get_params() == before


def test_a_pipe_that_is_no_pipeline(root):
    with pytest.raises(TypeError, match="pipe is a Linear; pass a diffusers pipeline or its folder"):
        bigain.DiffusionClassifier(torch.nn.Linear(1, 1), PROMPTS)
    with pytest.raises(FileNotFoundError, match="is not a diffusers pipeline folder"):
        bigain.DiffusionClassifier(root / "docs", PROMPTS)


def test_a_method_on_the_pipeline_already(root):
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(root / "resources/mini-unet")
    with (
        bigain.compressed(pipe, "tome", ratio=0.5),
        pytest.raises(ValueError, match="tome is already applied to this model: remove it first"),
    ):
        bigain.DiffusionClassifier(pipe, PROMPTS, progress=False).predict(np.zeros((32, 32)))


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        ([], ValueError, "images are empty: pass at least one image"),
        (["nowhere.png"], UnreadableImage, "nowhere.png is missing"),
        ([np.zeros((32, 32)), np.full((32, 32), 255.0)], UnreadableImage, "image 1 has values from 255 to 255"),
        (np.zeros((2, 32, 32, 5)), UnreadableImage, r"image 0 is an array \[32, 32, 5\]"),
        ([3], TypeError, "image 0 is a int; allowed are a path"),
    ],
)
def test_images_that_do_not_fit(images, kind, message, root):
    with pytest.raises(kind, match=message):
        on_prompts(root).errors(images)


def test_colours_are_luma_to_a_model_of_grey_images(root):
    red = Image.new("RGB", (32, 32), "red")
    classifier = on_prompts(root, stages=(1,), batch_size=2)
    assert classifier.errors(red).equals(classifier.errors(red.convert("L")))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 1], "ids have to be 2 distinct whole numbers, one for each image"),
        ([3.2, 3.7], r"ids have to be whole numbers, not \[3.2, 3.7\]"),
    ],
)
def test_ids_that_do_not_tell_images_apart(ids, message, root):
    with pytest.raises(ValueError, match=message):
        on_prompts(root).errors(np.zeros((2, 32, 32, 1)), ids=ids)


def test_numbers_of_numpy_are_whole_numbers_and_fractions_are_not(root):
    kinds = {"stages": np.array([1]), "keep": np.array([1]), "seed": np.int64(3), "batch_size": np.int64(2)}
    plain = on_prompts(root, stages=(1,), keep=(1,), seed=3, batch_size=2)
    image = np.zeros((32, 32))
    assert on_prompts(root, **kinds).errors(image).equals(plain.errors(image))
    with pytest.raises(TypeError, match=r"batch_size: 2\.5 is not a whole number"):
        on_prompts(root, batch_size=2.5)


@pytest.mark.parametrize("names", [(1, "2"), (True, 2), (("a", "b"), "c")])
def test_names_of_several_kinds_stay_what_they_are(names, root):
    classifier = on_prompts(root, dict(zip(names, PROMPTS, strict=True)), stages=(1,), batch_size=2)
    assert [type(name) for name in classifier.classes_] == [type(name) for name in names]
    errors = classifier.errors(np.zeros((32, 32)))
    assert {classifier.score(errors, [name]) for name in names} == {0.0, 1.0}


def test_what_can_be_read_only_once_or_not_at_all(root):
    with pytest.raises(TypeError, match="candidates are a list of prompts or class ids, or a mapping to them"):
        on_prompts(root, (prompt for prompt in PROMPTS))
    with pytest.raises(TypeError, match="images are None; pass an image"):
        on_prompts(root).predict(None)


def test_labels_that_do_not_fit_the_classes_or_the_images(root):
    classifier = on_prompts(root, dict(zip(["bag", "coat"], PROMPTS, strict=True)), stages=(1,), batch_size=2)
    errors = classifier.errors(np.zeros((32, 32)))
    with pytest.raises(ValueError, match=r"unknown label 'bags'. Did you mean 'bag'"):
        classifier.score(errors, ["bags"])
    with pytest.raises(ValueError, match="2 labels for 1 images"):
        classifier.score(errors, ["bag", "coat"])
    with pytest.raises(ValueError, match="errors of 1 classes, and the classifier has 2"):
        classifier.predict(errors[errors["class"] == 0])
    with pytest.raises(TypeError, match="labels are 'bag'; pass a list with the class of every image"):
        classifier.score(errors, "bag")
    with pytest.raises(ValueError, match=r"unknown label \['bag'\]"):
        classifier.score(errors, [["bag"]])
    with pytest.raises(ValueError, match="winner and rival are both 'bag'"):
        classifier.explain(np.zeros((32, 32)), "bag", "bag")
    with pytest.raises(ValueError, match="unknown class 'bags'"):
        classifier.explain(np.zeros((32, 32)), "bags")


def table(images, classes=(0, 1)):
    """Errors of images, of which those with an even id are of class 0."""
    rows = [(image, c, t, 0, float((image + c) % 2)) for t in (250, 750) for image in images for c in classes]
    return pd.DataFrame(rows, columns=["image", "class", "t", "stage", "error"])


def test_another_order_of_rows_changes_no_number(root):
    classifier = on_prompts(root, stages=(2,))
    errors = table([4, 7, 8])
    by_class = errors.sort_values(["class", "t", "image"], ascending=[False, False, True])
    labels = [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    assert classifier.score(errors, labels) == classifier.score(by_class, labels) == 1
    for use in (classifier.predict, classifier.predict_proba, lambda shuffled: classifier.score(shuffled, labels)):
        with pytest.raises(ValueError, match="errors of image 4 begin after those of image 8: sort them by image"):
            use(table([8, 4, 7]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            table([0, 1]).astype({"class": float}),
            "column 'class' of the errors is float64, and has to be whole numbers",
        ),
        (table([0, 1]).astype({"error": str}), "column 'error' of the errors is .*, and has to be numbers"),
        (table([0, 1]).drop(columns="t"), "errors need the columns image, class, t, stage, error; t missing"),
        (table([0, 1], classes=(1, 2)), "errors of class 2, and the classifier has classes 0 to 1"),
    ],
)
def test_tables_that_are_not_errors_of_these_classes(wrong, message, root):
    with pytest.raises(ValueError, match=message):
        on_prompts(root).predict(wrong)


def test_labels_and_class_ids_of_numpy_and_torch(root):
    ids = torch.tensor([0, 3])
    classifier = bigain.DiffusionClassifier(root / "resources/mini-dit", ids, progress=False)
    assert classifier.classes_.tolist() == [0, 3]
    errors = table([0, 1, 2])
    assert classifier.score(errors, torch.tensor([0, 3, 0])) == 1
    assert classifier.score(errors, list(torch.tensor([3, 3, 0]))) == pytest.approx(2 / 3)
    assert classifier.score(errors, np.array([0, 3, 3])) == pytest.approx(2 / 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests what happens without a GPU")
def test_a_gpu_that_is_not_there(root):
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch has no GPU here: use cpu or auto"):
        on_prompts(root, device="cuda")


def test_several_images_have_no_single_explanation(root):
    with pytest.raises(ValueError, match="these are 2 images; `explain` explains the decision on one"):
        on_prompts(root).explain([Image.new("L", (8, 8))] * 2)
