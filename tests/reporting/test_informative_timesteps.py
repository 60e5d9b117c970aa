"""The section "Where in t is the class?": its answers by rule, its table and figure, from made-up rows."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bigain.core.columns import columns_of
from bigain.core.records import write_table
from bigain.jobs.score_timesteps import TIMESTEPS
from bigain.reporting.informative_timesteps import write_informative_timesteps
from bigain.reporting.timestep_answer import NOT_RUN, answers, ranges
from bigain.reporting.timestep_figure import draw, shown_arms
from bigain.reporting.timestep_profiles import profile, read_profiles

GRID = (100, 300, 500, 700, 900)
PLACE = {"backbone": "u", "dataset": "d", "seeds": 1, "classes": 10, "tried": 10, "images": 80, "chance": 10.0}
ACCURACIES = (12.0, 40.0, 70.0, 50.0, 15.0)
CHANGES = (0.0, -10.0, -30.0, -5.0, 1.0)


def interval(value, half, name=""):
    return {
        name or "accuracy": value,
        f"{name}_low".lstrip("_"): value - half,
        f"{name}_high".lstrip("_"): value + half,
    }


def uncompressed(accuracies=ACCURACIES, half=8.0):
    method = {"method": "none", "strength": None, "strength_kind": "none"}
    return [PLACE | method | {"t": t} | interval(a, half) for t, a in zip(GRID, accuracies, strict=True)]


def compressed(method="tome", strength=0.7, changes=CHANGES, p=(1.0, 0.02, 0.0001, 0.3, 0.9)):
    columns = {"method": method, "strength": strength, "strength_kind": "merge_ratio", "paired_images": 80}
    numbers = zip(GRID, ACCURACIES, changes, p, strict=True)
    return [
        PLACE | columns | {"t": t, "p": p} | interval(a + change, 8.0) | interval(change, 9.0, "difference")
        for t, a, change, p in numbers
    ]


def weights(differences, p, left_out=None):
    names = ("uniform", "exp(-7t)", "fitted, piecewise linear", "fitted, polynomial", "fitted, logit-normal")
    method = {"method": "none", "strength": None, "strength_kind": "none"}
    for name, difference, value in zip(names, (0.0, *differences), (1.0, *p), strict=True):
        row = PLACE | method | {"weights": name, "images": 38, "fitted_on": 42 * name.startswith("fitted")}
        if left_out is None:
            row |= interval(80.0 + difference, 8.0) | interval(difference, 5.0, "difference") | {"p": value}
        yield row | {"left_out": left_out}


def left_out(*timesteps, tried=5):
    method = {"method": "none", "strength": None, "strength_kind": "none"}
    return [PLACE | method | {"t": t, "tried": tried, "images": None, "left_out": "few"} for t in timesteps]


def rows_of(*parts):
    table = pa.Table.from_pylist([row for part in parts for row in part], TIMESTEPS)
    return table.to_pandas()


def answer(*parts):
    (sentences,) = answers([profile(rows_of(*parts))])
    return sentences


def test_the_class_is_where_accuracy_is_more_than_half_as_far_above_chance_as_at_its_highest():
    assert answer(uncompressed()) == (
        "On u (d), the class is at t = 500 to 700: Acc@1 by the errors at a single timestep is highest at t = 500, "
        "70.0% [62.0, 78.0], and lowest at t = 100, 12.0% [4.0, 20.0] (80 images, 5 timesteps, chance 10%)."
    )


def test_a_class_that_is_everywhere_is_said_to_be():
    sentence = answer(uncompressed((60.0, 61.0, 70.0, 60.0, 61.0)))
    assert sentence.startswith("On u (d), the class is at all timesteps, t = 100 to 900: Acc@1 by the errors")


def test_gains_of_compression_are_named_beside_its_losses():
    changes, p = (-30.0, -30.0, 0.0, 20.0, 0.0), (0.001, 0.001, 1.0, 0.001, 1.0)
    assert "2 are significant losses, at t = 100 to 300 and 1 is a significant gain, at t = 700 (largest" in answer(
        uncompressed(), compressed(changes=changes, p=p)
    )


def test_no_timestep_is_named_where_none_is_clearly_above_chance():
    sentence = answer(uncompressed((10.0, 11.0, 17.0, 9.0, 8.0)))
    assert sentence.startswith(
        "On u (d), no single timestep is clearly above chance: Acc@1 is highest at t = 500, 17.0%"
    )


def test_a_single_timestep_is_no_curve():
    assert answer(uncompressed()[:1]) == (
        "On u (d), all classes are compared at t = 100 alone: Acc@1 is 12.0% [4.0, 20.0] (80 images, chance 10%)."
    )


def test_timesteps_of_survivors_are_counted_and_named():
    assert "2 of 7 timesteps are left out (t = 200 and 600): as few as 5 of 10 classes were tried there." in answer(
        uncompressed(), left_out(200, 600)
    )


@pytest.mark.parametrize(
    ("differences", "p", "expected"),
    [
        (
            (-9.0, 1.0, 2.0, 3.0),
            (0.02, 0.8, 0.6, 0.3),
            "and none of 4 others differs significantly (largest difference: exp(-7t), -9.0",
        ),
        (
            (-9.0, 1.0, 2.0, 9.0),
            (0.3, 0.8, 0.6, 0.01),
            "; of 4 others, these differ significantly: fitted, logit-normal (+9.0",
        ),
    ],
)
def test_weights_differ_only_after_holm_s_correction(differences, p, expected):
    sentence = answer(uncompressed(), weights(differences, p))
    assert (
        "On the 38 images that no weights were fitted on, uniform weights over these timesteps get 80.0% [72.0, 88.0]"
        in sentence
    )
    assert expected in sentence


def test_weights_that_were_not_judged_say_why():
    sentence = answer(
        uncompressed(), weights((0,) * 4, (1,) * 4, "all classes were tried at 3 timesteps; 5 are needed")
    )
    assert sentence.endswith("Weights over t were not judged: all classes were tried at 3 timesteps; 5 are needed.")


def test_losses_of_compression_are_named_after_holm_s_correction():
    assert answer(uncompressed(), compressed()).endswith(
        "Of 5 comparisons with compressed models at a timestep, 1 is a significant loss, at t = 500 "
        "(largest loss: ToMe 0.7 at t = 500, -30.0 points [-39.0, -21.0])."
    )
    assert "Of 5 comparisons with compressed models at a timestep, none is significant (largest loss" in answer(
        uncompressed(), compressed(p=(1.0, 0.02, 0.02, 0.3, 0.9))
    )


def test_a_pair_at_whose_timesteps_nothing_can_be_compared_has_an_answer_and_panels():
    nowhere = profile(rows_of(left_out(*GRID)))
    (sentence,) = answers([nowhere])
    assert sentence == (
        "On u (d), the uncompressed model has no timestep at which all classes were tried. 5 of 5 timesteps are left "
        "out (t = 100 to 900): as few as 5 of 10 classes were tried there."
    )
    plt.close(draw([nowhere]))


def test_images_are_counted_for_each_model():
    many = [row | {"images": 2000} for row in compressed()]
    drawn = profile(rows_of(uncompressed(), many))
    assert drawn.images == "80 to 2000"
    assert "(80 images, 5 timesteps" in answers([drawn])[0]
    assert profile(rows_of(uncompressed())).images == "80"


def test_compression_that_never_loses_is_not_said_to():
    gains = answer(uncompressed(), compressed(changes=(1.0, 2.0, 3.0, 4.0, 5.0), p=(0.9,) * 5))
    assert "none is significant (no loss; smallest difference: ToMe 0.7 at t = 100, +1.0 points" in gains


def test_without_the_uncompressed_model_there_is_nothing_to_compare():
    alone = [{k: v for k, v in row.items() if not k.startswith(("difference", "p"))} for row in compressed()]
    without = profile(rows_of(alone))
    assert answers([without]) == ["On u (d), the study does not classify with the uncompressed model."]
    figure = draw([without, profile(rows_of(uncompressed(), compressed()))])
    low, high = figure.axes[3].get_ylim()
    assert (low, high) == (-41, 12)  # 2 points beyond -30 - 9 and 1 + 9, whatever the other pair lacks
    plt.close(figure)


def test_without_files_it_was_not_run(tmp_path):
    written = files(tmp_path)
    write_informative_timesteps([], {"study": "s"}, *written)
    assert NOT_RUN in written[0].read_text()
    assert NOT_RUN in written[2].read_text()
    assert pd.read_csv(written[1]).empty
    assert written[4].read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([], "t = "),
        ([100], "t = 100"),
        ([100, 300, 700], "t = 100 to 300 and 700"),
        ([100, 500, 900], "t = 100, 500 and 900"),
    ],
)
def test_neighbours_on_the_grid_are_a_range(chosen, words):
    assert ranges(GRID, chosen) == words


def test_the_files_hold_every_number(tmp_path):
    stored = tmp_path / "d.parquet"
    parts = [uncompressed(), compressed(), left_out(200), weights((-9.0, 1.0, 2.0, 3.0), (0.02, 0.8, 0.6, 0.3))]
    write_table(stored, pa.Table.from_pylist([row for part in parts for row in part], TIMESTEPS), {})
    written = files(tmp_path)
    write_informative_timesteps([stored], {"study": "s"}, *written)
    tex, csv, html = (file.read_text() for file in written[:3])
    assert csv.splitlines()[0].split(",") == list(columns_of("timesteps"))
    assert (
        len(csv.splitlines()) == 1 + sum(len(list(part)) for part in (uncompressed(), compressed(), left_out(200))) + 5
    )
    assert r"exp(-7t) & -- & 38 & 71.0 [63.0, 79.0] & $-9.0$ [$-14.0$, $-4.0$] & $0.020$ \\" in tex
    assert "<th>fitted, polynomial</th><td>42</td><td>38</td><td>82.0 <small>74.0 to 90.0</small>" in html
    assert html.count("<td>38</td>") == 5


def test_the_figure_draws_four_presets_at_their_highest_strength():
    arms = [
        compressed(method, strength)
        for method in ("sito", "tome", "bigain_tm", "tome_fixed", "toma")
        for strength in (0.3, 0.7)
    ]
    drawn = profile(rows_of(uncompressed(), *arms, compressed("bigain_tm~score-l2_norm", 0.9)))
    assert [(arm.method, arm.strength) for arm in shown_arms(drawn)] == [
        ("tome", 0.7),
        ("bigain_tm", 0.7),
        ("sito", 0.7),
        ("tome_fixed", 0.7),
    ]


def test_the_panels_show_the_numbers_and_mark_what_is_left_out():
    shown = [profile(rows_of(uncompressed(), compressed(), left_out(200))) for _ in range(4)]
    figure = draw(shown)
    upper, lower = figure.axes[0], figure.axes[3]
    lines = {line.get_label(): line for line in upper.get_lines()}
    assert np.allclose(lines["ToMe, 0.7"].get_ydata(), np.add(ACCURACIES, CHANGES))
    assert lines["left out"].get_xdata().tolist() == [200]
    assert any(
        np.allclose(line.get_ydata(), CHANGES) for line in lower.get_lines() if len(line.get_ydata()) == len(GRID)
    )
    texts = [text.get_text() for text in lower.get_legend().get_texts()]
    assert texts == ["no compression", "ToMe, 0.7", "chance", "left out"]
    assert sum(axis.axison for axis in figure.axes) == 8
    plt.close(figure)


def test_profiles_of_several_files_keep_their_order(tmp_path):
    names = ("v", "u")
    paths = [tmp_path / f"{name}.parquet" for name in names]
    for name, path in zip(names, paths, strict=True):
        write_table(path, pa.Table.from_pylist([row | {"backbone": name} for row in uncompressed()], TIMESTEPS), {})
    assert [each.backbone for each in read_profiles(paths)] == ["v", "u"]


def files(folder):
    return [folder / f"timesteps.{suffix}" for suffix in ("tex", "csv", "html", "pdf", "png")]
