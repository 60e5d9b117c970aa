"""What the pages say is there: links, paths, commands, flags, packages, and the numbers of the README."""

from __future__ import annotations

import ast
import csv
import importlib.util
import re
import subprocess
import sys
from itertools import pairwise, product

import jinja2
import pytest
import typer
import yaml

from bigain.cli.main import app
from bigain.core.rounding import rounded
from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from tests.helpers.repository import ROOT

SITE = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site" / "build.py")
build = importlib.util.module_from_spec(SITE)
SITE.loader.exec_module(build)

ALL_PAGES = (*build.PAGES, *build.FURTHER)
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
TOP_FOLDERS = ("bigain", "bench", "config", "docs", "envs", "profiles", "resources", "tests", "workflow", ".ci")
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, TOP_FOLDERS))})/[\w./-]*\w(?![\w/]*[<*{{])")
MADE_UP = {"profiles/kubernetes/config.yaml"}  # which a reader of the page would write


def code_of(page: str) -> list[str]:
    """The code blocks, line by line, and the code spans of a page."""
    blocks = CODE.findall((ROOT / page).read_text("utf-8"))
    return [line for block, span in blocks for line in (block or span).splitlines()]


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_and_anchors_lead_somewhere(page, tmp_path):
    assert build.write_page(page, tmp_path, jinja2.Template("{{ body }}")) == []


def prose_of(page: str) -> list[str]:
    """The lines of a page outside of code blocks."""
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL).splitlines()


@pytest.mark.parametrize("page", ALL_PAGES)
def test_paragraphs_are_apart(page):
    """Headings, lists and text after a table need an empty line, and a lost one leaves two spaces in a paragraph."""
    lines = prose_of(page)
    joined = [line for line in lines if not line.startswith("|") and re.search(r"\S  \S|^ \S", line)]
    glued = [
        line
        for before, line in pairwise(lines)
        if (before.startswith("|") and line and not line.startswith("|"))
        or (before and line.startswith("#"))
        or (before and line.startswith(("* ", "1. ")) and not before.startswith((" ", "* ", "1. ", "<!--")))
    ]
    assert (joined, glued) == ([], [])


@pytest.mark.slow
def test_the_whole_site_is_built_with_a_page_for_every_module(tmp_path):
    assert build.build(tmp_path) == []
    modules = [path for path in (ROOT / "bigain").rglob("*.py") if not path.name.startswith("__")]
    pages = {path.relative_to(tmp_path / "api").with_suffix("") for path in (tmp_path / "api").rglob("*.html")}
    names = {path.relative_to(ROOT).with_suffix("") for path in modules}
    assert pages >= {name for name in names if not build.NO_PAGE.fullmatch(".".join(name.parts))}


def test_every_page_is_on_the_site():
    written = {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")}
    assert {str(path.relative_to(ROOT)) for path in written} == set(ALL_PAGES)


@pytest.mark.parametrize("page", ALL_PAGES)
def test_paths_exist(page):
    paths = {path for line in code_of(page) for path in PATH.findall(line)} - MADE_UP
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_bigain_commands_and_their_flags_exist(page):
    commands = typer.main.get_command(app).commands
    for line in code_of(page):
        for command in re.split(r";\s*", line.partition("#")[0]):
            words = command.split()
            if words[:1] != ["bigain"] or len(words) < 2:
                continue
            assert words[1] in commands, command
            group = getattr(commands[words[1]], "commands", {})
            chosen = group[words[2]] if group and len(words) > 2 else commands[words[1]]
            flags = {flag for parameter in chosen.params for flag in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= flags, command


@pytest.mark.parametrize("page", ALL_PAGES)
def test_method_ids_are_valid(page):
    ids = [span for span in code_of(page) if re.split("[~@]", span)[0] in METHODS]
    assert all(method_of(name).id for name in ids)  # which raises an error for an invalid one


@pytest.mark.parametrize("page", ALL_PAGES)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {words[1] for line in code_of(page) if (words := line.split())[:1] == ["make"] and len(words) > 1}
    assert named <= targets


def test_the_table_of_the_readme_is_that_of_the_committed_study():
    rows = csv.DictReader((ROOT / "docs/decisive/table1.csv").open(encoding="utf-8"))
    cells = {(row["backbone"], row["method"], row["strength"], row["metric"]): row for row in rows}
    shown = {
        "no compression": ("none", "", ""),
        "ToMe, 70% merged": ("tome", "0.7", "0.7"),
        "BiGain_TM, 70% merged": ("bigain_tm", "0.7", "0.7"),
        "ToDo, 4x and 2x downsampled": ("todo", "4", "2"),
        "BiGain_TD, 4x and 2x downsampled": ("bigain_td", "4", "2"),
    }
    readme = (ROOT / "README.md").read_text("utf-8")
    for label, (method, on_unet, on_dit) in shown.items():
        unet, dit = (
            {metric: cells.get((backbone, method, strength, metric)) for metric in ("saved_percent", "acc@1", "fd")}
            for backbone, strength in (("mini_unet", on_unet), ("mini_dit", on_dit))
        )
        saved = [f"{float(cell['saved_percent']['value']):.1f}%" if on_unet else "" for cell in (unet, dit)]
        accuracies = [
            f"{float(cell['value']):.1f} ({float(cell['low']):.1f} to {float(cell['high']):.1f})"
            for cell in (unet["acc@1"], dit["acc@1"])
        ]
        distances = [
            f"{float(cell['value']):.0f} ({float(cell['low']):.0f} to {float(cell['high']):.0f})"
            for cell in (unet["fd"], dit["fd"])
        ]
        columns = [value for of_model in zip(saved, accuracies, distances, strict=True) for value in of_model]
        line = f"| {label} | {' | '.join(columns)} |"
        assert " ".join(line.split()) in readme, line


def test_the_calibration_of_the_classifier_s_page_is_the_measured_one():
    page = (ROOT / "docs/classifier.md").read_text("utf-8")
    kinds = {"exp(-7t)": "exp(-7t) of eps errors", "exp(-7t) of x_0": "exp(-7t) of x_0 errors"}
    rows = list(csv.DictReader((ROOT / "docs/classifier/calibration.csv").open(encoding="utf-8")))
    assert len(rows) == 8
    for row in rows:
        percent = [rounded(float(row[name]), 1) for name in ("acc@1", "ece_before", "ece_after")]
        nll = [rounded(float(row[name]), 3) for name in ("nll_before", "nll_after")]
        cells = [f"`{row['model']}`", kinds.get(row["weights"], row["weights"]), *percent, *nll]
        assert f"| {' | '.join(cells)} |" in page


def test_the_timesteps_of_the_classifier_s_page_are_the_measured_ones():
    page = (ROOT / "docs/classifier.md").read_text("utf-8")
    rows = list(csv.DictReader((ROOT / "docs/classifier/timesteps.csv").open(encoding="utf-8")))
    numbers = {(row["backbone"], row["method"], row["t"]): row for row in rows if row["t"]}
    timesteps = sorted({int(t) for *_, t in numbers})
    assert len(timesteps) == 10
    for t in timesteps:
        cells = [str(t)]
        for model in ("mini_unet", "mini_dit", "mini_mmdit"):
            for method, form, names in (
                ("none", "{:.1f} ({:.1f} to {:.1f})", ("accuracy", "low", "high")),
                ("bigain_tm", "{:+.1f} ({:+.1f} to {:+.1f})", ("difference", "difference_low", "difference_high")),
            ):
                cells.append(form.format(*(float(numbers[model, method, str(t)][name]) for name in names)))
        assert f"| {' | '.join(cells)} |" in page, t
    together = csv.DictReader((ROOT / "docs/classifier/timesteps-together.csv").open(encoding="utf-8"))
    shares = [[float(row[name]) for name in ("accuracy", "low", "high")] for row in together if row["method"] == "none"]
    first, *rest = ["{:.1f}% ({:.1f} to {:.1f})".format(*share) for share in shares]
    assert f"get {first}, {' and '.join(rest)} of the 80 images right" in " ".join(page.split())


def test_the_label_trees_of_the_performance_page_are_the_measured_ones():
    page = (ROOT / "docs/performance.md").read_text("utf-8")
    table = list(csv.DictReader((ROOT / "docs/performance/label-tree.csv").open(encoding="utf-8")))
    rows = {(row["run"].partition(",")[0], row["schedule"]): row for row in table}
    groups = {
        "all (no tree)": "",
        "z 2, 1 representative": "tree z 2 of 1, ",
        "z 1, 2 representatives": "tree z 1 of 2, ",
        "the best 2, 2 representatives": "tree keep 2 of 2, ",
        "the best 1, 2 representatives": "tree keep 1 of 2, ",
    }
    for then, (left, tree) in product(("[5, 20] keep [5, 1]", "z 2, every 5"), groups.items()):
        cells = []
        for model in ("mini_unet", "mini_dit"):
            row = rows[model, tree + then]
            difference, low, high = (float(row[name]) for name in ("difference", "low", "high"))
            shown = f"{difference:+.1f}" if difference else "0.0"
            cells += [f"{float(row['predictions']):.1f}", f"{shown} ({low:+.1f} to {high:+.1f})"]
        assert f"| {left} | {then} | {' | '.join(cells)} |" in page


def test_the_cost_of_the_papers_study_is_as_planned():
    command = [sys.executable, "-m", "bigain", "plan", "--configfile", "config/paper.yaml"]
    planned = subprocess.run(command, cwd=ROOT, env={"COLUMNS": "200"}, capture_output=True, text=True, check=True)
    rows = {
        cells[0]: cells[1:] for line in planned.stdout.splitlines() if (cells := re.split(r"\s*[│|]\s*", line)[1:-1])
    }
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    paper, controls, everything = rows["paper, all"], rows["controls, all"], rows["everything"]
    assert f"{paper[0]} cells for the paper's tables ({float(paper[6]):.0f} GPU-hours) and {controls[0]} for" in readme
    assert f"{everything[0]} cells and {float(everything[6]):.0f} GPU-hours in all" in readme
    images = float(everything[4].replace(",", ""))
    assert f"{float(everything[3]):.0f} million noise predictions and {images / 1e6:.2f} million generated" in readme


def test_the_architecture_lists_every_package():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    packages = re.findall(r"^\| `(\w+)` \| (?:top|ground|paper wing|tensor wing) \|", text, re.MULTILINE)
    assert sorted(packages) == sorted(path.parent.name for path in (ROOT / "bigain").glob("*/__init__.py"))


def test_arrows_of_the_architecture_are_imports():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    diagram = text[text.index("flowchart TB") :].partition("```")[0].replace("-.->|schedules only|", "-->")
    for line in diagram.splitlines():
        packages = [step.split(" & ") for step in line.strip().split(" --> ")]
        for package, imported in (pair for above, below in pairwise(packages) for pair in product(above, below)):
            assert imported in imports(package), line


def imports(package: str) -> set[str]:
    """The packages of bigain that a package imports, in functions too."""
    files = (ROOT / "bigain" / package).rglob("*.py")
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))))
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {module.split(".")[1] for module in modules if module.startswith("bigain.")}


def test_the_citation_names_the_paper_and_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for author in citation["preferred-citation"]["authors"]:
        assert f"{author['given-names']} {author['family-names']}" in readme
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"## {citation['version']} - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
