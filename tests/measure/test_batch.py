"""The fastest batch: growing batches until a doubling no longer pays or fits, by a made-up clock and memory."""

from types import SimpleNamespace

import pytest
import torch

from bigain.measure import batch
from bigain.measure.batch import fastest, measure
from tests.helpers.tiny import TinyBackbone


class Device:
    """Make a backbone take some seconds per row, by the rows of a pass, and fit so many rows."""

    def __init__(self, monkeypatch, backbone, per_row: dict[int, float], fits: int = 64) -> None:
        self.per_row, self.fits, self.passes = per_row, fits, []
        monkeypatch.setattr(backbone, "predict_noise", self.predict)

    def predict(self, x_t, t, conditions):
        assert len(x_t) == len(t) == len(conditions)
        self.passes.append(len(x_t))
        if len(x_t) > self.fits:
            raise torch.OutOfMemoryError("made up")

    def clock(self, run) -> float:
        run()
        return self.per_row[self.passes[-1]] * self.passes[-1]


@pytest.fixture
def backbone(unet):
    return TinyBackbone(unet, "unet")


@pytest.mark.parametrize(
    ("per_row", "timed", "rows"),
    [
        ({8: 8.0, 16: 4.0, 32: 3.0, 64: 2.0}, [8, 16, 32, 64], 64),
        ({8: 8.0, 16: 4.0, 32: 3.9}, [8, 16, 32], 32),  # gains too little for another doubling, but is the fastest
        ({8: 8.0, 16: 4.0, 32: 5.0}, [8, 16, 32], 16),
        ({8: 8.0, 16: 8.0}, [8, 16], 8),
    ],
)
def test_the_batch_with_the_fewest_seconds_per_row_is_picked(monkeypatch, backbone, per_row, timed, rows):
    device = Device(monkeypatch, backbone, per_row)
    timings = measure(backbone, device.clock)
    assert [timing.rows for timing in timings] == timed
    assert [timing.seconds_per_row for timing in timings] == pytest.approx(list(per_row.values()))
    assert fastest(timings).rows == rows
    assert timings[0].peak_bytes is None


def test_growing_ends_where_memory_does(monkeypatch, backbone):
    device = Device(monkeypatch, backbone, {8: 8.0, 16: 4.0}, fits=20)
    assert fastest(measure(backbone, device.clock)).rows == 16
    assert device.passes[-1] == 32


def test_a_first_batch_that_does_not_fit_is_halved(monkeypatch, backbone):
    device = Device(monkeypatch, backbone, {2: 1.0}, fits=3)
    assert [timing.rows for timing in measure(backbone, device.clock)] == [2]
    assert device.passes == [8, 4, 2, 2, 2, 2]


def test_a_device_too_small_for_a_row_is_named(monkeypatch, backbone):
    with pytest.raises(ValueError, match="not even one row of a forward pass fits into the memory of cpu"):
        measure(backbone, Device(monkeypatch, backbone, {}, fits=0).clock)


def test_a_quarter_of_a_gpus_memory_is_left_for_noise_and_prompts(monkeypatch, backbone):
    peak, timing = {8: 30, 16: 75, 32: 76}, batch._timing
    monkeypatch.setattr(batch, "_timing", lambda *work: timing(*work)._replace(peak_bytes=peak[work[1]]))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=100))
    device = Device(monkeypatch, backbone, {8: 8.0, 16: 4.0, 32: 2.0})
    assert [timing.rows for timing in measure(backbone, device.clock)] == [8, 16]
