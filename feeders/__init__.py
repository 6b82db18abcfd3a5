"""The network: circuits read from OpenDSS, and the power flow on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradmap.feeders.synthetic_feeder import synthetic as synthetic


def __getattr__(name: str) -> Any:
    # On first use: the command's help needs no OpenDSS.
    if name != "synthetic":
        raise AttributeError(f"module 'gradmap.feeders' has no attribute {name!r}")
    from gradmap.feeders.synthetic_feeder import synthetic

    return synthetic
