"""The one place for device and precision."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> torch.device:
    """The first GPU that is visible, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(precision: str, device_type: str, cached: bool = True) -> torch.autocast:
    """Autocast to a precision; float32 is none.

    Args:
        precision: A key of `DTYPES`.
        device_type: "cpu" or "cuda".
        cached: Cast a weight once and keep it. Gradients of several uses then add up in the lower precision.
    """
    return torch.autocast(device_type, DTYPES[precision], enabled=precision != "float32", cache_enabled=cached)


def uncached(device_type: str) -> torch.autocast:
    """The autocast that is in force, without its cache, so that gradients of several uses add up in float32."""
    return torch.autocast(
        device_type,
        torch.get_autocast_dtype(device_type),
        enabled=torch.is_autocast_enabled(device_type),
        cache_enabled=False,
    )
