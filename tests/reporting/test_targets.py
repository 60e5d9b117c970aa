"""Files that are asked of the workflow belong to the study, or the message says which are close."""

from pathlib import Path

import pytest

from bigain.cli.study import merged_config
from bigain.reporting.targets import check_targets
from bigain.study import snakemake_internals
from bigain.study.config import ConfigError
from bigain.study.study import Study

CELL = "results/short/cells/classification/mini_unet/fashion/none/full/seed-0"


@pytest.fixture
def study(root, monkeypatch):
    monkeypatch.chdir(root)
    return Study(merged_config([Path("config/short.yaml")]))


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (f"{CELL}/chunk-7.parquet", "; this cell has chunk-0.parquet"),
        (f"{CELL}/chunk-0.safetensors", "; this cell has chunk-0.parquet"),
        (f"{CELL.replace('none', 'nonne')}/chunk-0.parquet", f". Did you mean {CELL}/chunk-0.parquet?"),
        (f"{CELL.replace('none', 'nonne')}/metrics.json", f". Did you mean {CELL}/metrics.json?"),
        (
            "results/short/inputs/mini_dt/fashion/latents.safetensors",
            ". Did you mean results/short/inputs/mini_dit/fashion/latents.safetensors?",
        ),
        (
            "results/short/inputs/reference/fashoin.safetensors",
            ". Did you mean results/short/inputs/reference/fashion.safetensors?",
        ),
        ("results/short/efficiency/mini_uent.csv", ". Did you mean results/short/efficiency/mini_unet.csv?"),
        (
            "results/short/probes/mini_unet/fashion_scenes/tokens.safetensors",
            ". Did you mean results/short/probes/mini_unet/fashion/tokens.safetensors?",
        ),
        ("reports/short/tabel11.csv", ". Did you mean reports/short/table11.csv?"),
        ("reports/short/samples-mini_dit-fashion.png", ". Did you mean reports/short/samples-mini_unet-fashion.png?"),
        ("reports/short/figure9.pdf", ". Did you mean reports/short/figure3.pdf?"),
    ],
)
def test_a_file_that_the_study_does_not_make_is_refused(study, target, hint):
    with pytest.raises(ConfigError) as caught:
        check_targets(study, ["all", target])
    assert str(caught.value) == f"{target}: the study short does not make this file{hint}"


def test_files_of_the_study_and_other_arguments_pass(study):
    cells = [file for cell in study.cells for file in study.chunk_files(cell)]
    assert cells
    reports = [f"reports/short/{name}" for name in ("index.html", "report.tex", "claims.csv", "figure1.csv")]
    others = ["all", "default", "config/short.yaml", "reports/mini/x.png", "results/short/plan.json", "results/short"]
    made = [*cells, *(f"{file}.json" for file in cells), *study.score_files(), "results/short/efficiency/mini_dit.csv"]
    check_targets(study, [*made, *reports, *others])  # raises


def test_values_of_other_options_are_no_targets(monkeypatch):
    given = "-n all a/b.csv --cores 2 --cleanup-metadata x y -R c.json --report reports/short/report.html"
    monkeypatch.setattr("sys.argv", ["snakemake", *given.split()])
    assert snakemake_internals.named_files() == ["all", "a/b.csv", "2", "c.json"]
