"""The Triton kernel: equal to torch in Triton's interpreter, compiled for GPUs, and chosen where it runs."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from bigain.tokens import TokenGrid, kernels, matching
from tests.helpers.cosines import all_cosines, check_random_vectors, check_ties, split_at_random

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
POINTERS = {"unit": "*fp32", "sources": "*i64", "destinations": "*i64", "similarity": "*fp32", "place": "*i64"}
COUNTS = ("tokens", "channels", "source_count", "destination_count")
BLOCKS = {"block_sources": kernels.SOURCES, "block_destinations": kernels.DESTINATIONS}

INTERPRETED = """
import torch
from tests.helpers.cosines import check_random_vectors, check_ties
for shape in ((1, 20, 1, 3), (2, 200, 70, 40), (3, 150, 129, 33), (2, 64, 63, 1), (1, 300, 128, 64)):
    check_random_vectors(*shape, "cpu")
    check_ties(*shape, "cpu")
"""


@needs_triton
def test_interpreted_it_finds_what_torch_finds(root):
    """In a process of its own: Triton reads the variable when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@needs_triton
@pytest.mark.parametrize("capability", [75, 80, 90])
def test_it_compiles_for_gpus_in_full_precision(capability, monkeypatch, tmp_path):
    """No GPU is needed to build for one; what the interpreter accepts, the compiler may refuse."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bigain.tokens.triton_kernel import most_similar

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {**BLOCKS, "block_channels": kernels.CHANNELS}
    signature = {**POINTERS, **dict.fromkeys(COUNTS, "i32"), **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(most_similar, signature, constants)
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": True})
    assert "fma.rn.f32" in built.asm["ptx"]
    assert "tf32" not in built.asm["ptx"]


def test_without_a_gpu_it_is_torch(monkeypatch):
    assert kernels.backend(CPU) == kernels.backend(torch.device("meta")) == "torch"
    kernels.available.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert kernels.backend(CUDA) == "torch"
    kernels.available.cache_clear()


def test_a_gpu_needs_triton_and_a_c_compiler_outside_of_compiled_graphs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("CC", "cc")
    kernels.available.cache_clear()
    assert kernels.backend(CUDA) == "triton"
    with monkeypatch.context() as compiled:
        compiled.setattr(torch.compiler, "is_compiling", lambda: True)
        assert kernels.backend(CUDA) == "torch"
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    kernels.available.cache_clear()
    assert kernels.backend(CUDA) == "torch"
    kernels.available.cache_clear()


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
    cosines = all_cosines(F.normalize(x, dim=-1), *places)
    similarity, place = matching.best_destinations(x, *places)
    assert torch.equal(place, cosines.argmax(dim=-1))
    torch.testing.assert_close(similarity, cosines.amax(dim=-1))


@needs_gpu
@needs_triton
@pytest.mark.parametrize("shape", [(1, 20, 1, 3), (2, 200, 70, 40), (3, 1500, 375, 333), (2, 4096, 1024, 320)])
def test_on_a_gpu_it_finds_what_torch_finds(shape):
    assert kernels.backend(CUDA) == "triton"
    check_random_vectors(*shape, CUDA)
    check_ties(*shape, CUDA)


@needs_gpu
@needs_triton
def test_the_similarities_are_never_in_memory():
    grid = TokenGrid(128, 128)
    x = torch.randn(2, grid.tokens, 64, device=CUDA)
    places = matching.split(matching.top_left(grid, (2, 2), CUDA).expand(2, -1), grid.tokens)
    matching.best_destinations(x, *places)
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    matching.best_destinations(x, *places)
    assert torch.cuda.max_memory_allocated() - start < 4 * x.numel() * x.element_size()  # a chunk is 64 MiB
