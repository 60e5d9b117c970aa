"""A plan's memory: a 128x128 grid at batch 8 is planned within 2 GB, the tokens themselves included."""

import subprocess
import sys

import pytest

PLAN = """
import resource, torch
from bigain.methods.presets import METHODS
from bigain.tokens import OPERATORS, TokenGrid
torch.set_num_threads(2)
method, grid = METHODS["{method}"], TokenGrid(128, 128)
x = torch.randn(8, grid.tokens, 320)
drawn = {{"noise": torch.randn(8, grid.tokens)}} if method.operator == "prune_similar" else {{}}
with torch.inference_mode():
    plan = OPERATORS[method.operator](x, grid, 0.5, **{{**method.options, **drawn}})
    assert plan.reduce(x).shape[1] in (8192, 8194)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bigain_tm", "bigain_tm_block", "sito"])
def test_a_large_batch_is_planned_within_2_gb(method):
    run = subprocess.run([sys.executable, "-c", PLAN.format(method=method)], capture_output=True, text=True, check=True)
    assert 300 < int(run.stdout) < 2048  # MiB; the tokens alone are 160
