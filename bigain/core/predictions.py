"""Prediction types of diffusion models (eps, v), read from the configs of their schedulers. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUPPORTED = ("epsilon", "v_prediction")


def prediction_fault(scheduler: Mapping[str, Any]) -> str:
    """Return why neither classification nor sampling knows a model whose scheduler has this config, else "".

    With betas rescaled to zero terminal SNR, alpha_bar_T = 0: x_T shows nothing of x_0, which a predicted eps could
    not give back and a predicted v does.
    """
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in SUPPORTED:
        return f"prediction_type is {kind!r}; supported are {' and '.join(map(repr, SUPPORTED))}"
    if kind == "epsilon" and scheduler.get("rescale_betas_zero_snr"):
        return (
            "rescale_betas_zero_snr is true and prediction_type 'epsilon': with alpha_bar_T = 0 an image cannot be "
            "sampled from a predicted eps. Set prediction_type to 'v_prediction' if the model predicts v, "
            "rescale_betas_zero_snr to false if it was trained without"
        )
    return ""
