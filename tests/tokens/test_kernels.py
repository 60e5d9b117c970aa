"""The Triton kernels: built for GPUs, kept in compiled graphs, and chosen where they work."""

import importlib
import importlib.util
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses.fake_tensor import FakeTensorMode

from bigain.tokens import TokenGrid, blocks, kernels, matching, merge
from bigain.tokens.downsample import interpolate_extrapolate
from tests.helpers.quick import in_turn
from tests.helpers.torch_path import split_at_random

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def unchecked(monkeypatch):
    """Forget which kernels were checked, before and after a test."""
    kernels._failure.cache_clear()
    monkeypatch.setattr(kernels, "failures", {})
    yield
    kernels._failure.cache_clear()


def launches(dtype: torch.dtype) -> dict[str, list]:
    """Start every kernel as SD 2.0's largest map at 512 pixels does."""
    from bigain.tokens.kernels import downsampling, grouping, moving, scoring, selecting
    from bigain.tokens.kernels import matching as match

    def index(count: int, kind: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(1, count, dtype=kind)

    x, norms = torch.zeros(1, 4096, 320, dtype=dtype), torch.zeros(1, 4096)
    return {
        "score": [lambda name=name: scoring.score(x, 64, 64, 2, 2, name) for name in ("none", "laplacian_l1")],
        "split": [lambda: selecting.split(index(1024), 4096)],
        "match": [lambda: match.match(x, norms, index(3072), index(1024))],
        "select": [
            lambda count=count: selecting.select(torch.zeros(1, count), *map(index, (count, count, count // 3)), 500)
            for count in (3072, kernels.LARGEST_SELECTION)
        ],
        "group": [lambda: grouping.group(index(2867), index(2867), index(1024), 4096)],
        "reduce": [lambda: moving.reduce(x, index(205), index(3891, torch.int32), index(1024, torch.int32))],
        "restore": [lambda: moving.restore(x[:, :1229], index(4096, torch.int32))],
        "downsample": [
            lambda: downsampling.downsample(x, None, 64, 64, [32, 32], 0.9, "nearest_exact"),
            lambda: downsampling.downsample(x, torch.zeros(1), 64, 64, [32, 32], 0.0, "cell_centre"),
        ],
    }


@needs_triton
@pytest.mark.parametrize(("capability", "dtype"), in_turn((75, 80, 90), (torch.float32, torch.float16)))
def test_they_are_built_for_gpus(capability, dtype, monkeypatch, tmp_path):
    """No GPU is needed to build for one; what the interpreter accepts, the compiler may refuse.

    Products use the matrix units from capability 8.0 on, in full precision, and loads of tokens come in 16 bytes.
    """
    from tests.helpers.built_kernels import built_for

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with built_for(capability, monkeypatch) as built:
        names = [name for name, starts in launches(dtype).items() for start in starts if start() is not None]
    assert set(names) == set(kernels.KERNELS)
    by_name = dict(zip(names, built, strict=True))
    assert all(kernel.metadata.shared <= 64 * 1024 for kernel in built)  # what the smallest of these cards has
    product = by_name["match"].asm["ptx"]
    if capability >= 80:
        instruction = {torch.float16: r"mma\S*f32\.f16\.f16", torch.float32: r"mma\S*tf32\.tf32"}[dtype]
        assert re.search(instruction, product)
        assert "ld.global.v4" in by_name["restore"].asm["ptx"] or "ld.global.v2" in by_name["restore"].asm["ptx"]


@needs_triton
@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_what_checks_start_is_built_too(kernel, monkeypatch, tmp_path):
    """Where sizes are 1, which Triton builds in. And a check notices that nothing was computed."""
    from bigain.tokens.kernels import launching
    from tests.helpers.built_kernels import built_for

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with built_for(90, monkeypatch) as built, pytest.raises(launching.WrongAnswer):
        kernels._checks()[kernel](CPU, torch.bfloat16)
    assert built


@needs_triton
def test_compiled_graphs_keep_them(monkeypatch):
    """Of plans, merges and downsampling for a pretended GPU: one graph, whose kernels change what they return alone."""
    import triton

    from tests.helpers.built_kernels import PretendedDriver

    monkeypatch.setattr(kernels, "_failure", lambda kernel, device, dtype: None)
    monkeypatch.setattr(type(triton.runtime.driver), "active", PretendedDriver())
    graphs, grid = [], TokenGrid(16, 16)

    def operators(x):
        smooth = merge.merge_smooth(x, grid, 0.5, (2, 2), "laplacian_l1")
        cells = blocks.merge_cells(x, grid, 0.5, (2, 2), "laplacian_l1", "token_matched", "max")
        restored = [plan.restore(plan.reduce(x)) for plan in (smooth, cells)]
        return *restored, interpolate_extrapolate(x, grid, 2, 0.9)

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    backend = aot_autograd(fw_compiler=keep)
    with FakeTensorMode(), torch.no_grad():
        x = torch.empty(2, 256, 32, device="cuda", dtype=torch.bfloat16)
        torch._dynamo.reset()
        torch.compile(operators, fullgraph=True, dynamic=False, backend=backend)(x)
    (graph,) = graphs
    changed = [tuple(node.kwargs["tensors_to_clone"]) for node in graph.graph.nodes if "triton" in str(node.target)]
    assert changed == [
        ("scores", "inverse_norms", "lowest"),
        ("flags", "sources", "in_order"),
        ("similarity", "target"),
        ("kept", "merged", "merged_target", "place"),
        ("lists", "members", "starts"),
        ("scores", "inverse_norms", "lowest"),
        ("flags", "sources", "in_order"),  # of destinations, then of merged cells
        ("flags", "sources", "in_order"),
        ("lists", "members", "starts"),
        ("short",),
        ("x",),
        ("short",),
        ("x",),
        ("y",),
    ]


@needs_triton
def test_eager_calls_start_kernels_as_they_are():
    """Without torch's wrapper, which takes longer than small kernels do; afterwards graphs can trace them again."""
    from bigain.tokens.kernels import launching, scoring

    started = []

    @launching.operator
    def start_nothing(x: torch.Tensor) -> torch.Tensor:
        started.append(launching.wrap_triton(scoring._score))
        return x.clone()

    start_nothing(torch.ones(2))
    assert started == [scoring._score]
    assert launching.wrap_triton(scoring._score) is not scoring._score


def test_on_a_cpu_torch_computes():
    x = torch.ones(2, 4, 4)
    assert not any(kernels.uses(kernel, x) for kernel in kernels.KERNELS)
    assert kernels.described(CPU) == "torch: no GPU"


def test_a_gpu_needs_triton_and_a_c_compiler(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("CC", "cc")
    assert kernels.missing(CUDA) is None
    assert kernels.described(CUDA) == "triton"
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert kernels.described(CUDA) == "torch: no C compiler"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert kernels.described(CUDA) == "torch: no Triton"


def test_without_triton_there_is_no_warning(monkeypatch, unchecked, recwarn):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert kernels.failure("match", "cuda:0", "float16") == "no Triton"
    assert not recwarn.list


@needs_triton
@pytest.mark.parametrize(
    ("raised", "reason"),
    [(RuntimeError("out of registers\nmore"), "RuntimeError: out of registers"), (None, "WrongAnswer: wrong means")],
)
def test_a_kernel_that_fails_its_check_is_replaced_with_one_warning(monkeypatch, unchecked, raised, reason):
    """It does not compile, or computes something else."""
    from bigain.tokens.kernels import launching, moving

    def check(device, dtype):
        raise raised or launching.WrongAnswer("wrong means")

    monkeypatch.setattr(kernels, "missing", lambda device: None)
    monkeypatch.setitem(moving.CHECKS, "reduce", check)
    monkeypatch.setitem(moving.CHECKS, "restore", lambda device, dtype: None)
    with pytest.warns(
        UserWarning, match=f"torch replaces the Triton kernel 'reduce' on cpu in float16: {reason}"
    ) as seen:
        assert [kernels.failure("reduce", "cpu", "float16") for _ in range(3)] == [reason] * 3
    assert len(seen) == 1
    assert kernels.failure("restore", "cpu", "float16") is None
    assert kernels.described(CUDA) == f"triton; torch for reduce cpu float16: {reason}"


@needs_triton
def test_a_shortage_of_memory_says_nothing_about_a_kernel(monkeypatch, unchecked):
    """The batch was too large: the smaller one that follows is computed with kernels again."""
    from bigain.tokens.kernels import moving

    def check(device, dtype):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(kernels, "missing", lambda device: None)
    with monkeypatch.context() as short_of_memory:
        short_of_memory.setitem(moving.CHECKS, "reduce", check)
        with pytest.raises(torch.OutOfMemoryError):
            kernels.failure("reduce", "cpu", "float16")
    monkeypatch.setitem(moving.CHECKS, "reduce", lambda device, dtype: None)
    assert kernels.failure("reduce", "cpu", "float16") is None


@pytest.mark.system
def test_nothing_imports_triton_before_it_is_used():
    """Neither do the operators need it."""
    code = "import sys; sys.modules['triton'] = None; import bigain.tokens; bigain.tokens.matching.kernels"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("limit", [100, 2**24])
def test_torch_finds_what_the_whole_matrix_says(monkeypatch, limit):
    monkeypatch.setattr(matching, "SIMILARITIES", limit)
    x = torch.randn(2, 90, 7, generator=torch.Generator().manual_seed(3))
    x[:, 4] = 0
    places = split_at_random(2, 90, 23)
    unit = F.normalize(x, dim=-1)
    cosines = matching.rows(unit, places[0]) @ matching.rows(unit, places[1]).transpose(1, 2)
    similarity, place = matching.best_destinations(x, *places)
    assert torch.equal(place, cosines.argmax(dim=-1))
    torch.testing.assert_close(similarity, cosines.amax(dim=-1))
