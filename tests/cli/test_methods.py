"""`bigain methods` lists what there is."""

from typer.testing import CliRunner

from bigain.cli.main import app
from bigain.methods.presets import METHODS


def test_every_method_is_listed_with_what_it_acts_on_and_its_options():
    listed = CliRunner().invoke(app, ["methods"]).stdout.splitlines()
    rows = {line.split()[0]: line for line in listed}
    assert set(METHODS) <= set(rows)
    assert "keys_values" in rows["bigain_td"]
    assert "downsample_factor" in rows["bigain_td"]
    assert rows["bigain_td"].endswith("alpha, site, skip_t0, timesteps, levels, blocks")
