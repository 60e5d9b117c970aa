"""docs/field.md shows the numbers that docs/methods.md has, and claims to have measured nothing else."""

import re

from bigain.methods.presets import METHODS
from bigain.methods.properties import properties_of
from tests.helpers.repository import ROOT

NUMBER = r"(U-Net|DiT)\s(\d+\.\d)"


def measured() -> dict[tuple[str, str], str]:
    """Return Acc@1 by (method, family), from the table of docs/methods.md: the U-Net's columns, then the DiT's."""
    page = (ROOT / "docs/methods.md").read_text("utf-8").split("## Measured on the embedded models")[1]
    numbers = {}
    for line in page.splitlines():
        cells = line.split("|")
        for family, place in (("U-Net", 1), ("DiT", 4)) if len(cells) > 5 else ():
            if match := re.search(r"`([^`]+)`", cells[place]):
                numbers[match.group(1), family] = cells[place + 1].split()[0]
    return numbers


def test_its_numbers_are_those_that_were_measured():
    page, table = (ROOT / "docs/field.md").read_text("utf-8"), measured()
    assert table["tome", "U-Net"] == "84.0"
    shown = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            method = line.split("`")[1]
            shown |= {(method, family): number for family, number in re.findall(NUMBER, line.split("|")[-2])}
    controls = page.split("Controls, which no paper proposes:")[1].split("[The study")[0]
    for method, numbers in re.findall(r"`(\w+)`\s+\(([^)]+)\)", controls):
        shown |= {(method, family): number for family, number in re.findall(NUMBER, numbers)}
    assert len(shown) == 39
    assert shown == {key: table[key] for key in shown}


def test_every_preset_is_on_the_page():
    page = (ROOT / "docs/field.md").read_text("utf-8")
    left_out = {"none", "bigain_tm_cached", "bigain_tm_block"}  # forms of bigain_tm
    assert [name for name in METHODS if f"`{name}`" not in page and name not in left_out] == []


def test_what_it_says_about_classifiers_is_what_methods_do():
    page = (ROOT / "docs/field.md").read_text("utf-8").split("## Not in this package")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    valid = {row[0].split("`")[1]: row[3] for row in rows}
    assert len(valid) > 10
    for name, text in valid.items():
        assert text.startswith("no") != properties_of(METHODS[name]).timestep_local, name
