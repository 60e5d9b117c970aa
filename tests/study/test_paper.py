"""The paper's config: its plan agrees with the protocol's own count; what cannot work is said before the first job."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bigain.cli.study import merged_config
from bigain.study.config import ConfigError
from bigain.study.cost import StudyCost
from bigain.study.requirements import Needs, before_first_job, device_here, problems
from bigain.study.study import Study

PAPER = Path("config/paper.yaml")


@pytest.fixture(autouse=True)
def _in_the_repository(root, monkeypatch):
    monkeypatch.chdir(root)


@pytest.fixture
def raw():
    return merged_config([PAPER])


def elsewhere(raw, folder):
    """The config with everything published looked for in a folder."""
    for kind in ("backbones", "datasets"):
        for settings in raw[kind].values():
            if not settings["path"].startswith("resources"):
                settings["path"] = str(folder / settings["path"])
    raw["feature_network"]["weights"] = str(folder / "inception.pth")
    return raw


def test_the_plan_agrees_with_protocol_1_8(raw):
    plan = StudyCost(Study(raw))
    total = plan.total("paper")
    assert total.cells == 370
    assert round(total.predictions / 1e6) == 952
    assert total.images == 136_690 + 65_000 + 941_366 + 70_000
    planned = {table: cost.cells for (group, table), cost in plan.parts.items() if group == "paper"}
    expected = {"table1": 3, "table2": 96, "table3": 26, "table4": 114, "table5": 28, "table6": 18, "table7": 27}
    assert planned == expected | {"table8": 56, "table12": 2}
    assert plan.evaluations() == {
        ("classification", "sd2", "pets"): 260,
        ("classification", "sd2", "coco2017"): 475,
        ("classification", "sd2", "imagenet100"): 575,
        ("classification", "sd2", "imagenet1k"): 6750,
        ("classification", "dit_xl2", "imagenet100"): 575,
        **{("generation", "sd2", name): 100 for name in ("pets", "imagenet100", "imagenet1k", "coco2017")},
        ("generation", "dit_xl2", "imagenet100"): 100,
    }
    assert 500 < total.hours < 623  # protocol 1.8 counts 623 without what compression saves


def test_hours_are_measured_ones_where_the_study_has_timed_its_backbones(raw, monkeypatch):
    import shutil

    raw["cells"] = [
        {"task": "classification", "backbone": "sd2", "dataset": "pets", "methods": ["none", "todo"]},
    ]
    raw["strengths"] = {"downsample_factor": [2]}
    raw["study"] = "timed"
    assumed = StudyCost(Study(raw))
    assert assumed.device == "an H100 (assumed) at 350 TFLOP/s"
    assert assumed.total().hours == pytest.approx(assumed.total().tflops / 350 / 3600)
    folder = Path("results/timed/efficiency")
    folder.mkdir(parents=True)
    try:
        (folder / "sd2.csv").write_text(
            "method,strength,seconds,batch,device\nnone,,0.8,8,a card\ntodo,2,0.4,8,a card\n"
        )
        timed = StudyCost(Study(raw))
        assert timed.device == "a card (measured)"
        assert timed.total().hours == pytest.approx(3669 * 260 * (0.1 + 0.05) / 3600)
    finally:
        shutil.rmtree("results/timed")


def test_controls_can_be_left_out(raw):
    raw["groups"] = ["paper"]
    assert StudyCost(Study(raw)).total().cells == 370
    raw["groups"] = ["papers"]
    with pytest.raises(ConfigError, match=r"groups: unknown group 'papers'\. Did you mean 'paper'"):
        Study(raw)


def test_every_cell_of_the_paper_has_its_own_operations_counted(raw):
    """None falls back to the uncompressed model."""
    study = Study(raw)
    plain = {"sd2": 804.257, "dit_xl2": 1049.168}
    same = {c.method for c in study.cells if abs(study.gflops(c) - plain[c.backbone]) < 1e-2}
    assert same == {"none", "none~noise-shared"}


def test_planning_needs_neither_torch_nor_data():
    code = (
        "import sys; from pathlib import Path; from bigain.cli.study import merged_config\n"
        "from bigain.study.cost import StudyCost; from bigain.study.study import Study\n"
        "StudyCost(Study(merged_config([Path('config/paper.yaml')]))).total()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_that_is_missing_is_said_at_once(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("bigain.core.gpu_locks.visible_gpus", list)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("usage", (), {"free": 5e9}))
    study = Study(elsewhere(raw, tmp_path))
    lines = problems(study, StudyCost(study), Needs.of_study(study))
    for start in ("backbones.sd2", "backbones.dit_xl2", "datasets.pets", "datasets.imagenet1k", "datasets.coco2017"):
        assert any(each.startswith(start) for each in lines), start
    (gpu,) = [each for each in lines if each.startswith("device")]
    assert re.search(r"about \d{3} hours on an H100 \(assumed\)", gpu)
    assert "config/config.yaml" in gpu
    (disk,) = [each for each in lines if each.startswith("disk")]
    assert "needs about 32 GB, and 5 GB are free" in disk
    assert any("bigain fetch inception" in each for each in lines)


def test_a_run_of_some_cells_asks_only_for_what_they_use(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("bigain.core.gpu_locks.visible_gpus", list)
    study = Study(elsewhere(raw, tmp_path))
    cell = next(c.path for c in study.cells if (c.backbone, c.dataset, c.task) == ("sd2", "coco2017", "classification"))
    message = before_first_job(study, [("classify", {"cell": cell, "chunk": "0"}), ("table", {})], local=False)
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == ["- backbones.sd2", "- datasets.coco2017"]
    structural = next(c.path for c in study.cells if c.method == "dip_go")
    assert "datasets.pets_trainval" in before_first_job(study, [("calibrate", {"cell": structural})], local=True)
    reference = before_first_job(study, [("reference_features", {"dataset": "pets"})], local=True)
    assert [line.split(":")[0] for line in reference.splitlines()[1:]] == ["- datasets.pets", "- feature_network"]
    assert before_first_job(study, [("table", {}), ("page", {}), ("collect", {})], local=True) == ""


@pytest.mark.parametrize(
    ("threads", "local", "cores", "message"),
    [
        (4, True, 4, ""),
        (4, True, None, ""),
        (5, True, 4, "threads: 5 is not allowed on this machine, which has 4; set at most 4"),
        (100_000, True, None, "threads: 100000 is not allowed on this machine, which has 4; set at most 4"),
        (2, True, 1, "threads: 2 is not allowed with --cores 1; use --cores 2, or set at most 1"),
        (100_000, False, None, ""),
    ],
)
def test_threads_that_local_jobs_cannot_have_are_refused(monkeypatch, threads, local, cores, message):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    study = Study(merged_config([]) | {"threads": threads})
    jobs = [("encode_images", {"backbone": "mini_unet", "dataset": "fashion"})]
    expected = f"mini cannot run yet:\n- {message}" if message else ""
    assert before_first_job(study, jobs, local=local, cores=cores) == expected
    assert before_first_job(study, [("table", {})], local=local, cores=cores) == ""
    assert f'"threads":{threads}}}' in study.latents_spec("mini_unet", "fashion")


@pytest.mark.parametrize(
    ("device", "gpus", "variable", "files", "expected"),
    [
        ("auto", [], None, (), "cpu"),
        ("auto", ["0"], None, (), "auto"),
        ("auto", [], None, ("/dev/null",), "auto"),  # a driver without nvidia-smi
        ("auto", [], "", ("/dev/null",), "cpu"),
        ("cuda", [], None, (), "cuda"),
        ("cpu", ["0"], None, (), "cpu"),
    ],
)
def test_auto_is_the_cpu_where_no_gpu_is_visible(monkeypatch, device, gpus, variable, files, expected):
    monkeypatch.setattr("bigain.core.gpu_locks.visible_gpus", lambda: gpus)
    monkeypatch.setattr("bigain.study.requirements.GPU_DEVICES", files)
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert device_here(device) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": {"pets": {"images": 3670}}}, r"datasets\.pets: images: 3670 requested, 3669 available"),
        ({"datasets": {"pets": {"generate": 3670}}}, r"datasets\.pets: generate: 3670 requested"),
        (
            {"datasets": {"pets": {"generate": 100}}},
            r"datasets\.pets\.generate: 100 is not allowed; inception's.* 2048",
        ),
        ({"datasets": {"pets": {"candidates": [0, 37], "images": 5}}}, "candidates: 37 is beyond the 37 classes"),
        ({"datasets": {"pets": {"reference": "dogs"}}}, r"datasets\.pets\.reference: unknown reader 'dogs'"),
        (
            {"datasets": {"imagenet1k": {"keep": [10, 1]}}},
            r"datasets\.imagenet1k: stages \[5, 20, 100\] keep \[10, 1\]",
        ),
        ({"datasets": {"imagenet1k": {"subset": "nowhere.txt"}}}, r"nowhere\.txt is missing"),
        ({"classification": {"noise": "global"}}, "unknown value 'global'"),
        ({"backbones": {"sd2": {"architecture": "sd3"}}}, "unknown value 'sd3'"),
    ],
)
def test_what_cannot_work_is_refused_while_planning(raw, change, message):
    from snakemake.utils import update_config

    update_config(raw, change)
    with pytest.raises(ConfigError, match=message):
        Study(raw)


def test_a_dit_takes_only_its_own_classes_and_a_flow_model_no_structural_methods(raw):
    raw["cells"] = [{"task": "classification", "backbone": "dit_xl2", "dataset": "pets", "methods": ["none"]}]
    with pytest.raises(ConfigError, match=r"dit_xl2 is conditioned on its own classes.*imagenet1k, imagenet100"):
        Study(raw)
    for family in ("mmdit", "flux"):
        raw["backbones"]["flow"] = {"family": family, "hub": "someone/flow", "path": "models/flow"}
        raw["cells"] = [{"task": "classification", "backbone": "flow", "dataset": "pets", "methods": ["none", "tome"]}]
        Study(raw)
        raw["cells"][0]["methods"].append("dip_go")
        with pytest.raises(ConfigError, match=f"dip_go: flow is of family {family}; structural methods act on"):
            Study(raw)


def test_prompts_stages_and_the_subset_are_in_the_specs(raw):
    import json

    study = Study(raw)
    cell = next(c for c in study.cells if (c.dataset, c.task, c.method) == ("imagenet1k", "classification", "tome"))
    spec = json.loads(study.job_spec(cell.path, 0))
    assert (spec["protocol"]["stages"], spec["protocol"]["keep"]) == ([5, 20, 100], [50, 10, 1])
    assert spec["dataset"]["subset"] == "first_two_of_each_class"
    assert spec["dataset"]["prompts"] == "paper"
    assert study.images(cell) == 2000
    generated = next(c for c in study.cells if (c.dataset, c.task) == ("imagenet1k", "generation"))
    assert study.images(generated) == 50_000
    assert "subset" not in json.loads(study.job_spec(generated.path, 0))["dataset"]
    assert json.loads(study.reference_spec("pets"))["dataset"]["reader"] == "pets_all"


def test_a_job_takes_at_most_so_many_predictions_in_whole_shards(raw):
    study = Study(raw)
    for cell in study.cells:
        for first, last in study.chunks(cell):
            assert first % study.shard(cell) == 0
            assert (last - first) * study.predictions(cell) <= 1_500_000
