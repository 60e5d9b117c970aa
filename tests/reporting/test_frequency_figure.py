"""The figure of "Is it frequency?"."""

from types import SimpleNamespace

import matplotlib.pyplot as plt

from bigain.reporting.frequency_figure import draw

SHARED = "tome_shared"


def test_a_series_has_the_same_colour_in_the_panels_of_leads_and_of_what_r_explains():
    lead = SimpleNamespace(difference=SimpleNamespace(value=1.0, low=0.0, high=2.0))
    cells = [SimpleNamespace(backbone=b, dataset="fashion", strength=0.7) for b in ("mini_unet", "mini_mmdit")]
    compared = [SimpleNamespace(cell=cell, leads={SHARED: lead}) for cell in cells]
    mediated = SimpleNamespace(ours=("bigain_tm", 0.7), theirs=(SHARED, 0.7), explained=lead.difference)
    figure = draw(compared, [], [("mini_mmdit, fashion", mediated)])
    leads, _, explained = figure.axes
    colours = {label: line[0].get_color() for line, label in zip(*leads.get_legend_handles_labels(), strict=True)}
    lines, labels = explained.get_legend_handles_labels()
    assert labels == ["mini_mmdit, fashion, 0.7"]
    assert lines[0][0].get_color() == colours[labels[0]] != colours["mini_unet, fashion, 0.7"]
    plt.close(figure)
