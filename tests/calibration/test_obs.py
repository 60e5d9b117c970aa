"""Second-order pruning: closed forms of the cost of a removal and of its compensation."""

import pytest
import torch

from bigain.calibration.obs import compensated, damped, removal_order


def layer(inputs=6, outputs=4, samples=50):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(inputs, inputs, generator=generator)
    x = torch.randn(samples, inputs, generator=generator) @ mixing
    return torch.randn(outputs, inputs, generator=generator).double(), x.double()


def error(weight, x, kept):
    """The squared error of the best weights for the kept inputs, by least squares."""
    best = torch.linalg.lstsq(x[:, kept], x @ weight.T).solution
    return (x[:, kept] @ best - x @ weight.T).square().sum().item()


@pytest.mark.parametrize("groups", [6, 3, 2])
def test_the_errors_are_those_of_least_squares(groups):
    weight, x = layer()
    size = 6 // groups
    order, errors = removal_order(weight, x.T @ x, groups)
    assert sorted(order) == list(range(groups))
    for count in range(1, groups):
        gone = {g * size + i for g in order[:count] for i in range(size)}
        kept = [i for i in range(6) if i not in gone]
        assert sum(errors[:count]) == pytest.approx(error(weight, x, kept), rel=1e-6)


def test_the_first_to_go_is_the_cheapest():
    weight, x = layer()
    order, _ = removal_order(weight, x.T @ x, 6)
    alone = [error(weight, x, [i for i in range(6) if i != gone]) for gone in range(6)]
    assert order[0] == alone.index(min(alone))


def test_inputs_behind_the_groups_stay():
    weight, x = layer(inputs=7)
    order, errors = removal_order(weight, x.T @ x, 6)
    assert sorted(order) == list(range(6))
    assert sum(errors) == pytest.approx(error(weight, x, [6]), rel=1e-6)


def test_compensation_is_least_squares():
    weight, x = layer()
    kept = torch.tensor([0, 2, 5])
    best = torch.linalg.lstsq(x[:, kept], x @ weight.T).solution.T
    torch.testing.assert_close(compensated(weight, x.T @ x, kept), best)


def test_keeping_everything_changes_nothing():
    weight, x = layer()
    torch.testing.assert_close(compensated(weight, x.T @ x, torch.arange(6)), weight)


def test_damping_makes_an_input_that_never_varies_free_to_remove():
    weight, x = layer()
    x[:, 3] = 0
    order, errors = removal_order(weight, damped(x.T @ x, 1e-6), 6)
    assert order[0] == 3
    assert errors[0] < 1e-3 * errors[1]
