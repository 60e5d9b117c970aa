"""The README's table of supported models is what methods do to a tiny instance of each, and leaves none out."""

from __future__ import annotations

import pytest
import torch

import bigain
from bigain.compression.targets import FAMILIES
from tests.helpers.models import RUN
from tests.helpers.repository import ROOT
from tests.helpers.supported import BEGIN, END, MODELS, table


def test_the_table_of_the_readme_is_what_a_trial_finds():
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()


def test_every_supported_class_is_in_the_table():
    assert {type(model.build()) for model in MODELS} == set(FAMILIES)


@pytest.mark.parametrize("family", sorted({*FAMILIES.values()}))
@pytest.mark.parametrize(("method", "strength"), [("bigain_tm", {"ratio": 0.5}), ("bigain_td", {"factor": 2})])
def test_every_family_is_compressed_and_restored(request, family, method, strength):
    network, run = request.getfixturevalue(family), RUN[family]
    plain = run(network)
    with bigain.compressed(network, method, **strength) as attachment:
        assert not torch.equal(run(network), plain)
        assert all(site.kept + site.keys < 2 * site.grid.tokens for site in attachment.sites)
    assert torch.equal(run(network), plain)
