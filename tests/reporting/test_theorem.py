"""The report on Theorem 1 and the token figures, from synthetic probes."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from bigain.core.records import write_table
from bigain.reporting.scores import Scores
from bigain.reporting.spectrum_probe import read_probe
from bigain.reporting.theorem import write_theorem
from bigain.reporting.token_figures import MERGED, FigureFiles, _cover, read_maps, write_token_figures

PROBE = {"backbone": {"id": "u"}, "dataset": {"id": "d"}, "bands": 2, "seed": 0}
SPEC = {"study": "my_study", "backbones": {"u": "unet"}}


def write_probe(folder, arms, spoil=None):
    """Write a probe: band 0 has the margin, band 1 the noise; an arm is (method, strength, factor of each band)."""
    rng = np.random.default_rng(0)
    before = rng.standard_normal((20 * 50, 2)) * [1, 4] + [4, 1]
    parts = []
    for method, strength, *factors in arms:
        columns = {"method": method, "strength": np.nan if strength is None else strength}
        columns |= {"image": np.repeat(np.arange(20), 50), "true": 0, "wrong": 1, "t": 500}
        values = before * factors
        parts.append(pd.DataFrame(columns | {"band_0": values[:, 0], "band_1": values[:, 1]}))
    frame = pd.concat(parts, ignore_index=True)
    if spoil is not None:
        frame.loc[3, "band_1"] = spoil
    write_table(folder / "spectrum.parquet", {name: frame[name].to_numpy() for name in frame}, PROBE)
    return folder / "spectrum.parquet"


def scored(method, strength, hits):
    cell = {"backbone": "u", "dataset": "d", "method": method, "strength": strength}
    return {"cell": cell, "items": {"image": list(range(len(hits))), "acc@1": hits}, "metrics": {}}


CELLS = [
    scored("none", None, [1] * 10 + [0] * 90),
    scored("bigain_tm", 0.5, [1] * 40 + [0] * 60),  # rises
    scored("tome", 0.5, [1] * 30 + [0] * 70),  # rises too
    scored("todo", 2, [1] * 10 + [0] * 89 + [1]),  # not significant
]
ARMS = [
    ("none", None, 1, 1),
    ("bigain_tm", 0.5, 1, 0.3),
    ("tome", 0.5, 0.3, 1),
    ("todo", 2, 1, 0.5),
    ("sito", 0.5, 1, 1),
]


def test_the_criterion_is_compared_with_the_accuracy(tmp_path):
    probe = read_probe(write_probe(tmp_path, ARMS), Scores(CELLS))
    assert (probe.images, probe.draws) == (20, 50)
    arms = {arm.method: arm for arm in probe.arms}
    assert [arms[name].accuracy_moved for name in ("bigain_tm", "tome", "todo", "sito")] == [
        "rises",
        "rises",
        "not significant",
        "not run",
    ]
    assert [arms[name].agrees for name in ("bigain_tm", "tome", "todo", "sito")] == [
        "yes",
        "no",
        "not significant",
        "not run",
    ]
    assert probe.covariance == pytest.approx(0, abs=0.05)


def test_the_table_and_the_figure(tmp_path):
    spectrum = write_probe(tmp_path, ARMS)
    for name in ("first", "second"):
        outputs = [tmp_path / f"{name}.{suffix}" for suffix in ("tex", "csv", "html", "pdf", "png")]
        write_theorem([spectrum], CELLS, SPEC, *outputs)
        assert (tmp_path / f"first.{outputs[-1].suffix[1:]}").read_bytes() == outputs[-1].read_bytes()
    table = pd.read_csv(tmp_path / "first.csv")
    ours = table[table["method"] == "bigain_tm"]
    assert len(table) == 4 * 3  # every method, and its two bands
    assert ours["band"].tolist() == pytest.approx([np.nan, 0, 1], nan_ok=True)
    assert ours["response"].tolist() == pytest.approx([np.nan, 1, 0.3], nan_ok=True)
    assert ours["foretold"].tolist()[0] == "yes"
    assert ours["foretold"].isna().tolist() == [False, True, True]
    assert ours["margin_lost_percent"].dropna().between(1, 100).all()
    tex = (tmp_path / "first.tex").read_text()
    assert r"BiGain\textsubscript{TM} & 0.5 &" in tex
    assert tex.count("improves") == 2
    assert "<td>improves</td>" in (tmp_path / "first.html").read_text()


@pytest.mark.parametrize(
    ("arms", "spoil", "message"),
    [
        (ARMS, float("nan"), "spectrum.parquet: a paired difference is not finite"),
        (ARMS[1:], None, "spectrum.parquet: its first arm has to be the uncompressed model"),
    ],
)
def test_a_wrong_probe_is_named(tmp_path, arms, spoil, message):
    with pytest.raises(ValueError, match=message):
        read_probe(write_probe(tmp_path, arms, spoil), Scores([]))


def write_maps(folder, saliency):
    spec = PROBE | {"methods": ["tome~cell-4x4", "bigain_tm~cell-4x4"], "ratio": 0.9}
    rng = np.random.default_rng(0)
    maps = {
        "images": rng.integers(0, 255, (3, 1, 32, 32), dtype=np.uint8),
        "saliency": saliency,
        "merged": rng.integers(0, 2, (2, 3, 16, 16), dtype=np.uint8),
    }
    save_file(maps, folder / "tokens.safetensors", {"spec": json.dumps(spec)})
    return folder / "tokens.safetensors"


def test_token_figures_are_drawn_the_same_every_time(tmp_path):
    file = write_maps(tmp_path, np.random.default_rng(1).random((3, 16, 16)))
    first, second = ([tmp_path / f"{k}{name}.{s}" for name in "ab" for s in ("pdf", "png", "csv")] for k in (1, 2))
    for outputs in (first, second):
        write_token_figures([file], FigureFiles(*outputs[:3]), FigureFiles(*outputs[3:]))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_the_tokens_of_the_figures_are_written_one_a_row(tmp_path):
    saliency = np.random.default_rng(1).random((3, 16, 16))
    maps = read_maps(write_maps(tmp_path, saliency))
    two, three = (FigureFiles(*(tmp_path / f"{k}.{s}" for s in ("pdf", "png", "csv"))) for k in (2, 3))
    write_token_figures([tmp_path / "tokens.safetensors"], two, three)
    tokens = pd.read_csv(two.csv)
    assert tokens.columns.tolist() == ["backbone", "dataset", "image", "row", "column", "saliency"]
    assert tokens["saliency"].to_numpy().reshape(3, 16, 16) == pytest.approx(saliency, rel=1e-9)
    assert tokens.loc[16 * 16 + 16 * 2 + 5, ["image", "row", "column"]].tolist() == [1, 2, 5]
    merged = pd.read_csv(three.csv)
    ours = merged[merged["method"] == "bigain_tm~cell-4x4"]
    assert (ours["merged"].to_numpy().reshape(3, 16, 16) == maps.merged[1]).all()
    assert set(ours["strength"]) == {0.9}


def test_a_merged_token_covers_its_pixels():
    mask = np.zeros((2, 2), dtype=bool)
    mask[0, 1] = True
    shown = _cover(np.ones((4, 4, 3)), mask)
    assert (shown[:2, 2:] == MERGED).all()
    assert (shown[2:] == 1).all()
    assert (shown[:, :2] == 1).all()


def test_damaged_maps_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"tokens\.safetensors: a token's saliency is not finite"):
        read_maps(write_maps(tmp_path, np.full((3, 16, 16), np.nan)))
    (tmp_path / "tokens.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"tokens\.safetensors does not hold token maps"):
        read_maps(tmp_path / "tokens.safetensors")
