"""No sampling step waits for the device, and overlapping the groups of a job does not change its results."""

import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

import bigain
from bench.generation import MODELS, ours_and_theirs
from bigain import backbones
from bigain.compression.attachment import Uncompressed
from bigain.jobs import generate as job
from bigain.jobs.background import OrderedWorker
from bigain.jobs.encode import encode_conditions
from bigain.sampling.generate import Sampling, generate_images, sample_latents
from tests.helpers.jobs import FASHION, backbone_spec
from tests.helpers.methods import arguments_for
from tests.helpers.quick import in_turn

COUNT, BLOCK = 6, 2


@pytest.fixture(autouse=True)
def _in_the_repository(root, monkeypatch):
    monkeypatch.chdir(root)


class Traffic(TorchDispatchMode):
    """Counts transfers between the CPU and the "meta" device, from which nothing can be read otherwise."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with self:  # in inference mode what is made of other operators comes whole
            made_of = function.decompose(*args, **kwargs)
        if made_of is not NotImplemented:
            return made_of
        there = bool(args) and isinstance(args[0], torch.Tensor) and args[0].device.type == "meta"
        if there and function is torch.ops.aten._local_scalar_dense.default:
            self.seen["read"] += 1
            return True
        if function is torch.ops.aten._to_copy.default and kwargs.get("device") is not None:
            to = torch.device(kwargs["device"]).type
            if there and to == "cpu":
                self.seen["fetched"] += 1
                return torch.zeros(args[0].shape)
            self.seen["sent"] += to == "meta" and not there
        return function(*args, **kwargs)


def on_meta(family: str):
    """An embedded model on the meta device, with conditions and null condition of two images."""
    path = Path(f"resources/mini-{family}")
    loaded, without_weights = backbones.load(family, path), backbones.load(family, path, "meta", "float32")
    return without_weights, loaded.conditions(["a bag", "a coat"], [8, 4]), loaded.null_condition()


@pytest.mark.parametrize(("family", "method"), in_turn(("unet", "dit"), ("none", "bigain_tm", "todo")))
def test_no_step_waits_for_the_device(family, method):
    """Reading back from the meta device is an error, or counted; what is sent does not grow with the steps."""
    backbone, conditions, null = on_meta(family)
    with bigain.compressed(backbone.denoiser, method, **arguments_for(method)) as at:
        sample_latents(backbone, [0, 1], conditions, null, Sampling(3, 2.5, 0), at)
        traffic = []
        for steps in (2, 2, 7):  # the first loads the autoencoder
            with Traffic() as mode:
                generate_images(backbone, [0, 1], conditions, null, Sampling(steps, 2.5, 0), at)
            traffic.append(mode.seen)
    assert traffic[1] == traffic[2]
    assert traffic[1] == {"sent": 3, "read": 1, "fetched": 1}  # noise, conditions, timesteps; is it finite; the images


def test_out_of_memory_names_the_setting_to_lower(monkeypatch):
    backbone = backbones.load("dit", Path("resources/mini-dit"))

    def predict(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    arguments = (
        [3, 4, 5],
        backbone.conditions([], [1, 2, 3]),
        backbone.null_condition(),
        Sampling(2, 2.5, 0),
        Uncompressed(),
    )
    for name in ("decode", "predict"):
        monkeypatch.setattr(backbone, name, predict)
        with pytest.raises(ValueError, match=r"3 images together do not fit into the memory of cpu: .*ion\.block`"):
            generate_images(backbone, *arguments)


@pytest.fixture(scope="module")
def conditions_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("encoded") / "conditions.safetensors"
    encode_conditions({"backbone": backbone_spec("dit"), "dataset": FASHION, "captions": COUNT, "threads": 1}, file)
    return file


@pytest.fixture
def generated(root, conditions_file, tmp_path, monkeypatch):
    """Returns a function that runs a generation job in its own folder and returns the tensors of its files by name."""

    def run(name: str, overlapped: bool, shard: int = COUNT, encoding: str = "png") -> dict[str, bytes]:
        monkeypatch.setattr(job, "overlaps", lambda device: overlapped)
        weights = str(root / "resources/fashion-net/fashion-net.safetensors")
        network = {"name": "fashion-net", "weights": weights, "sha256": "-"}
        spec = {
            "results": str(tmp_path / name),
            "task": "generation",
            "backbone": backbone_spec("dit"),
            "dataset": FASHION,
            "method": "bigain_tm",
            "strength": 0.5,
            "seed": 0,
            "protocol": {
                "steps": 2,
                "guidance": 2.5,
                "keep_images": 3,
                "encoding": encoding,
                "feature_network": network,
            },
            "block": BLOCK,
            "shard": shard,
            "images": [0, COUNT],
            "threads": 1,
        }
        output = tmp_path / f"{name}.safetensors"
        job.generate(spec, conditions_file, output)
        shards = sorted((tmp_path / name).rglob("images-*"))  # named after their content, seconds included
        return {
            output.suffix: load_file(output),
            **{shard.name.rpartition("-")[0]: load_file(shard) for shard in shards},
        }

    return run


@pytest.mark.parametrize("shard", [BLOCK, 4, COUNT])
def test_overlapped_and_one_after_the_other_are_the_same_files(generated, shard):
    in_turn, overlapping = (
        generated(name, overlapped, shard) for name, overlapped in (("in_turn", False), ("overlapping", True))
    )
    assert list(in_turn) == list(overlapping)
    assert len(in_turn) == 1 + -(-COUNT // shard)
    for name, tensors in in_turn.items():
        assert all(torch.equal(tensor, overlapping[name][key]) for key, tensor in tensors.items())


@pytest.mark.parametrize("overlapped", [False, True])
def test_an_error_after_sampling_stops_the_job_and_names_the_images(generated, tmp_path, monkeypatch, overlapped):
    """Finished groups are kept, and a job that runs again resumes after them."""
    calls, encode = [], job.as_stored

    def breaks(images, encoding):
        calls.append(len(images))
        if len(calls) == 2:
            raise OSError("the encoder broke")
        return encode(images, encoding)

    monkeypatch.setattr(job, "as_stored", breaks)
    with pytest.raises(OSError, match="the encoder broke") as raised:
        generated("job", overlapped)
    assert raised.value.__notes__ == ["while finishing images 2 to 3"]
    assert [file.name[:20] for file in (tmp_path / "job").rglob("images-*")] == ["images-000000-000002"]
    assert not (tmp_path / "job.safetensors").exists()
    assert generated("job", overlapped)[".safetensors"]["features"].shape == (COUNT, 64)
    assert calls == [BLOCK] * 4  # the first block once, the broken one twice


@pytest.mark.parametrize("overlapped", [False, True])
def test_an_error_while_sampling_leaves_the_group_before_whole(generated, tmp_path, monkeypatch, overlapped):
    def breaks(backbone, places, *others):
        if places[0] == 2:
            raise ValueError("does not fit")
        return sample_latents(backbone, places, *others)

    monkeypatch.setattr(job, "sample_latents", breaks)
    with pytest.raises(ValueError, match="does not fit"):
        generated("job", overlapped)
    assert [file.name[:20] for file in (tmp_path / "job").rglob("images-*")] == ["images-000000-000002"]


def test_at_most_one_group_is_unfinished():
    """A group is finished beside the computing of the next, and at most one is unfinished."""
    unfinished, most, beside = [], [], []
    go = threading.Event()

    def finish(k):
        beside.append(go.wait(30))
        unfinished.remove(k)

    with OrderedWorker(overlapped=True) as worker:
        unfinished.append(0)
        first = worker.submit(finish, 0)
        assert not first.done()  # the caller goes on meanwhile
        go.set()
        for k in range(1, 6):
            worker.submit(lambda: None)  # returns when what was before is done
            most.append(len(unfinished))
            unfinished.append(k)
            worker.submit(finish, k)
    assert most == [0] * 5
    assert beside == [True] * 6


@pytest.mark.parametrize("sampling", [None, ValueError("sampling")])
def test_the_last_error_is_raised_even_during_another(sampling):
    def block(worker):
        worker.submit(breaks)
        if sampling is not None:
            raise sampling

    def breaks():
        raise OSError("full")

    with pytest.raises(OSError, match="full") as raised, OrderedWorker(overlapped=True) as worker:
        block(worker)
    assert raised.value.__context__ is sampling


@pytest.mark.parametrize("name", MODELS)
def test_the_two_arms_of_the_benchmark_make_the_same_images(name):
    ours, theirs = ours_and_theirs(name, images=2, steps=4)
    torch.testing.assert_close(ours(), theirs(), atol=1e-3, rtol=0)
