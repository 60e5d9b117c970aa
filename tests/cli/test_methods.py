"""`bigain methods` lists what there is."""

from typer.testing import CliRunner

import bigain
from bigain.cli.main import app
from bigain.cli.pictures import options_of
from bigain.methods.presets import METHODS


def test_every_method_is_listed_with_what_it_acts_on_and_its_options():
    listed = CliRunner().invoke(app, ["methods"]).stdout.splitlines()
    rows = {line.split()[0]: line for line in listed}
    assert set(METHODS) <= set(rows)
    assert "keys_values" in rows["bigain_td"]
    assert "downsample_factor" in rows["bigain_td"]
    assert rows["bigain_td"].endswith("alpha, site, skip_t0, timesteps, levels, blocks")


def test_every_kind_of_strength_is_an_option_of_commands_and_classifiers(root):
    strengths = {"ratio": 0.5, "threshold": 0.8, "factor": 2}
    assert options_of(**strengths, calibration=None) == strengths
    model = root / "resources/mini-unet"
    for method, (name, strength) in zip(("tome", "ca_tome", "todo"), strengths.items(), strict=True):
        classifier = bigain.DiffusionClassifier(model, ["a bag", "a shirt"], method=method, **{name: strength})
        assert classifier._options()[name] == strength
