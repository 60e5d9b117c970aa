"""Method ids: layers and options after the preset's name, one spelling each, and messages that name what is allowed."""

import pytest

from bigain.methods.ids import method_of
from bigain.methods.method import Linear
from bigain.methods.presets import METHODS


def test_an_id_says_layers_and_options():
    changed = method_of("bigain_tm@sa+mlp~score-l2_norm~cell-4x4~protect-0.1")
    assert changed.layers == ("sa", "mlp")
    assert dict(changed.options) == {**METHODS["bigain_tm"].options, "score": "l2_norm", "cell": (4, 4), "protect": 0.1}
    assert method_of("bigain_td~alpha-0.8to1.2").options["alpha"] == Linear(0.8, 1.2)
    assert method_of("bigain_td~alpha--0.5").options["alpha"] == -0.5
    assert method_of("bigain_td~alpha-0.00001").options["alpha"] == 1e-5
    assert method_of("bigain_td~alpha-100").options["alpha"] == 100
    assert method_of("todo~skip_t0-on").skip_t0
    assert METHODS["bigain_tm"].options["score"] == "laplacian_l1"


def test_an_id_has_one_spelling():
    assert method_of("tome@sa") is METHODS["tome"]
    assert method_of("bigain_tm~score-laplacian_l1~cell-2x2") is METHODS["bigain_tm"]
    assert method_of("bigain_tm@mlp+sa~score-l2_norm~cell-4x4").id == "bigain_tm@sa+mlp~cell-4x4~score-l2_norm"
    assert method_of("bigain_tm@sa+mlp").label == "BiGain_TM (SA+MLP)"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bigain_tm~scor-l2_norm", r"unknown option 'scor'\. Did you mean 'score'\?"),
        (
            "bigain_tm~score-l3_norm",
            r"score cannot be 'l3_norm': .* Did you mean 'l[12]_norm'\?",
        ),
        ("bigain_tm~cell-2", "cell cannot be '2'"),
        ("bigain_tm~cell-1x1", "at least two tokens"),
        ("bigain_tm~protect-1.5", "below 1"),
        ("bigain_tm@ca", "layers must include sa"),
        ("bigain_tm@sa+sa", "layers must include sa"),
        ("bigain_tm@sa+ff", "layers must include sa"),
        ("todo@sa+ca", "only merging methods"),
        ("todo~score-l2_norm", "unknown option 'score'"),
        ("todo~clamp-on", "unknown option 'clamp'"),
        ("none~skip_t0-on", "unknown option"),
        ("bigain_td~alpha-nan", "alpha cannot be 'nan': allowed are decimal numbers"),
        ("bigain_td~alpha-1_5", "allowed are decimal numbers"),
        ("bigain_td~alpha-0.50", "write it as 0.5"),
        ("bigain_td~alpha-1.0to0.8", "write it as 1"),
        ("bigain_td~alpha-1to1", "write it as 1"),
        ("bigain_td~alpha--0", "write it as 0"),
        ("bigain_td~alpha-00.00001", "write it as 0.00001"),
        ("bigain_tm~ratio_times-1toinf", "allowed are decimal numbers"),
        ("bigain_tm~cell-02x4", "whole numbers without leading zeros"),
        ("bigain_tm~blocks-2+1", "in ascending order, each once"),
        ("tome~cell-2x2~cell-4x4", "cell stands in it twice"),
        ("bigain_tn~score-l2_norm", r"Did you mean 'bigain_tm'\?"),
    ],
)
def test_a_wrong_id_says_what_is_allowed(name, message):
    with pytest.raises(ValueError, match=message):
        method_of(name)


def test_a_method_without_options_says_so():
    with pytest.raises(ValueError, match="mosaicdiff has no options to change"):
        method_of("mosaicdiff~clamp-on")


def test_a_plan_for_a_stage_is_the_cached_variant():
    assert method_of("bigain_tm~plan_for-stage") == method_of("bigain_tm_cached")
    assert method_of("bigain_tm_cached~plan_for-block~score-l2_norm") == method_of("bigain_tm~score-l2_norm")
    assert method_of("bigain_tm_cached~plan_for-model").plan_for == "model"


@pytest.mark.parametrize(("rule", "same"), [("top_left", "tome_fixed"), ("random", "tome")])
def test_destinations_that_no_score_picks_are_tome(rule, same):
    assert method_of(f"bigain_tm~destinations-{rule}") == method_of(same)
    assert method_of(f"bigain_tm@sa+mlp~destinations-{rule}") == method_of(f"{same}@sa+mlp")


def test_shuffled_destinations_are_a_preset_that_draws_once_per_noised_image():
    shuffled = method_of("bigain_tm~destinations-shuffled")
    assert shuffled is METHODS["bigain_tm_shuffled"]
    assert shuffled.draws_per == method_of("tome_shared").draws_per == "noised_image"
    assert method_of("bigain_tm~destinations-cell_argmax").operator == "merge_smooth"
