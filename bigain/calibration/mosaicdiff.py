"""MosaicDiff (Guo et al. 2025): a smaller subnet for each phase of denoising, pruned without training.

Adapted from the paper's description, since its code is unavailable. The phases have the boundaries that the paper
reports. A phase is pruned in proportion to 1 - its mean slope of E|x_t - x_0|^2 over the largest slope (the paper's
score without its unpublished weight lambda). Heads and neurons of all layers compete: first to go are those whose
removal adds the least squared error, relative to the layer's output, per operation saved.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from bigain.calibration import obs
from bigain.calibration.data import CalibrationData
from bigain.calibration.limits import refuse_above
from bigain.compression.structural import operations
from bigain.compression.structural.artefact import Calibration
from bigain.compression.structural.layers import Layer, layers_of
from bigain.compression.structural.phases import PhaseSubnets
from bigain.core.rng import numpy_generator
from bigain.methods.method import Method

ROWS = 40  # per forward pass while calibrating


@torch.no_grad()
def calibrate(backbone: Backbone, data: CalibrationData, method: Method, reduction: float, seed: int) -> Calibration:
    """Prune one subnet per phase so that, over all timesteps, `reduction` percent of the operations are saved.

    Every latent is noised to a random timestep of the phase and predicted under its condition and the null condition;
    the layers' inputs give H. Raises ValueError, before anything is predicted, if a phase cannot be pruned that far.
    """
    denoiser, options = backbone.denoiser, method.options
    context = data.conditions.shape[1] if data.conditions.ndim == 3 else 0
    layers = layers_of(denoiser, context)
    bare = operations.on_meta(denoiser)
    total = operations.by_module(bare, data.conditions)[""]
    bounds = (0, *options["boundaries"], len(backbone.alphas_bar))
    shapes = backbone.alphas_bar, data.latents, bounds
    refuse_above(largest_reduction(*shapes, layers, total), reduction, method.id)
    percentages = phase_reductions(*shapes, reduction)
    tensors: dict[str, Tensor] = {}
    for phase, percent in enumerate(percentages):
        hessians = _hessians(backbone, data, layers, bounds[phase], bounds[phase + 1], seed)
        hessians = {name: obs.damped(h, options["damping"]) for name, h in hessians.items()}
        kept = choose(layers, hessians, total * percent / 100)
        for layer in layers:
            units = torch.tensor(kept[layer.name])
            tensors[f"{phase}.{layer.name}.units"] = units
            tensors.update(_compensated(f"{phase}.{layer.name}", layer, hessians[layer.name], units))
    about = {
        "method": method.id,
        "reduction_percent": reduction,
        "boundaries": list(options["boundaries"]),
        "stage_reduction_percent": percentages,
        "layers": [layer.name for layer in layers],
    }
    subnets = PhaseSubnets(method, bare, Calibration(tensors, about))
    shares = _shares(bounds)
    saved = [100 * (1 - subnets.operations(phase, data.conditions) / total) for phase in range(len(shares))]
    about |= {
        "stage_reached_percent": saved,
        "reached_percent": sum(percent * share for percent, share in zip(saved, shares, strict=True)),
        "operations": total,
    }
    return Calibration(tensors, about)


def _shares(bounds: tuple[int, ...]) -> list[float]:
    return [(high - low) / bounds[-1] for low, high in pairwise(bounds)]


def phase_reductions(alphas_bar: Tensor, latents: Tensor, bounds: tuple[int, ...], reduction: float) -> list[float]:
    """Return the percentage to prune in every phase: proportional to 1 - its mean score, and `reduction` on average
    over all timesteps.

    The score of t is the slope of E|x_t - x_0|^2 = (1 - sqrt(alpha_bar))^2 E[x_0^2] + 1 - alpha_bar over the largest.
    """
    alpha_bar = alphas_bar.double()
    distance = (1 - alpha_bar.sqrt()).square() * latents.double().square().mean() + 1 - alpha_bar
    slope = distance.diff(append=2 * distance[-1:] - distance[-2:-1])
    score = slope / slope.max()
    weights = [1 - float(score[low:high].mean()) for low, high in pairwise(bounds)]
    shares = _shares(bounds)
    return [reduction * w / sum(a * b for a, b in zip(weights, shares, strict=True)) for w in weights]


def largest_reduction(
    alphas_bar: Tensor, latents: Tensor, bounds: tuple[int, ...], layers: list[Layer], total: int
) -> float:
    """Return the largest reduction, in percent of `total`: the phase pruned most then keeps one unit per layer."""
    return 100 * prunable(layers) / total / max(phase_reductions(alphas_bar, latents, bounds, 1.0))


def prunable(layers: list[Layer]) -> int:
    """Return the operations that are saved if every layer keeps a single unit."""
    return sum(layer.operations * (layer.units - 1) for layer in layers)


def choose(layers: list[Layer], hessians: Mapping[str, Tensor], target: float) -> dict[str, list[int]]:
    """Choose the units that every layer keeps, at least one, so that `target` operations are saved with an excess of
    less than one unit of some layer.

    Raises ValueError if keeping a single unit per layer saves less.
    """
    possible = prunable(layers)
    if target > possible:
        raise ValueError(
            f"{target:.3e} operations are to be saved, but pruning heads and neurons saves at most {possible:.3e}: ask "
            "for a smaller reduction"
        )
    orders: dict[str, tuple[list[int], list[float]]] = {}
    heap: list[tuple[float, int, int]] = []  # error per operation, place of the layer, units removed so far
    for place, layer in enumerate(layers):
        weight = _with_bias(layer)
        order, errors = obs.removal_order(weight, hessians[layer.name], layer.units)
        energy = float((weight @ hessians[layer.name] * weight).sum())
        orders[layer.name] = (order, [error / energy / layer.operations for error in errors])
        heapq.heappush(heap, (orders[layer.name][1][0], place, 0))
    removed = dict.fromkeys(orders, 0)
    saved, too_large = 0, []
    while heap:
        _, place, count = heapq.heappop(heap)
        layer = layers[place]
        if count + 1 == layer.units:
            continue
        if saved + layer.operations > target:
            too_large.append(layer)
            continue
        saved += layer.operations
        removed[layer.name] = count + 1
        heapq.heappush(heap, (orders[layer.name][1][count + 1], place, count + 1))
    if saved < target:
        removed[min(too_large, key=lambda layer: layer.operations).name] += 1
    return {name: sorted(order[removed[name] :]) for name, (order, _) in orders.items()}


def _with_bias(layer: Layer) -> Tensor:
    """Return the output weights in double precision, the bias as the weights of one more input, which is always 1."""
    linear = layer.output
    parts = [linear.weight] if linear.bias is None else [linear.weight, linear.bias.unsqueeze(1)]
    return torch.cat(parts, dim=1).double()


def _compensated(name: str, layer: Layer, hessian: Tensor, units: Tensor) -> dict[str, Tensor]:
    columns = (units.unsqueeze(1) * layer.size + torch.arange(layer.size)).flatten()
    has_bias = layer.output.bias is not None
    if has_bias:
        columns = torch.cat([columns, torch.tensor([layer.output.in_features])])
    weight = obs.compensated(_with_bias(layer), hessian, columns.to(hessian.device)).float()
    if not has_bias:
        return {f"{name}.weight": weight}
    return {f"{name}.weight": weight[:, :-1], f"{name}.bias": weight[:, -1]}


def _hessians(
    backbone: Backbone, data: CalibrationData, layers: list[Layer], low: int, high: int, seed: int
) -> dict[str, Tensor]:
    """Compute H of every layer's output over the phase [low, high), by layer name."""
    draw = numpy_generator(seed, "mosaicdiff timesteps", low)
    t = torch.from_numpy(draw.integers(low, high, size=len(data.latents)))
    x_t, _ = data.noised(backbone, t, seed, f"mosaicdiff noise {low}")
    null = data.null.expand_as(data.conditions)
    with _collecting(layers) as hessians:
        for conditions in (data.conditions, null):
            for part in torch.arange(len(t)).split(ROWS):
                inputs = (x_t[part].to(backbone.dtype), t[part], conditions[part])
                backbone.predict_noise(*(value.to(backbone.device) for value in inputs))
    return hessians


@contextmanager
def _collecting(layers: list[Layer]) -> Iterator[dict[str, Tensor]]:
    """Sum x x^T over the inputs x of every layer's output, with a 1 appended where there is a bias."""
    hessians: dict[str, Tensor] = {}

    def hook(name: str, bias: bool) -> Any:
        def add(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].flatten(0, -2).float()
            if bias:
                x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
            hessians[name] = hessians.get(name, 0) + (x.T @ x).double()

        return add

    outputs = [(layer.output, hook(layer.name, layer.output.bias is not None)) for layer in layers]
    handles = [output.register_forward_pre_hook(add) for output, add in outputs]
    try:
        yield hessians
    finally:
        for handle in handles:
            handle.remove()
