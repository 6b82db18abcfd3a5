"""Actions for the environment from what policies draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns


class SquashActions(ConnectorV2):
    """Sends the environment the hyperbolic tangent of what the policies drew.

    Policies are Gaussian *before* the tangent that ends every actor, so that
    exploration narrows where a device is wholly on or off, and the policy's
    centre is just what the actor does. Episodes keep what was drawn: there the
    ratio of two policies' probabilities is that of two Gaussians, since the
    tangent's part cancels.
    """

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds the column of squashed actions; called by RLlib.

        Args:
            batch: Columns of single items.
            kwargs: Whatever else RLlib passes.

        Returns:
            The batch.
        """
        drawn = batch[Columns.ACTIONS]
        batch[Columns.ACTIONS_FOR_ENV] = {
            key: [np.tanh(item) for item in items] for key, items in drawn.items()
        }
        return batch
