"""Makes the published task known to Gymnasium, without loading it.

    import gymnasium
    import gradmap.envs.vector

    env = gymnasium.make("gradmap/Ieee123Mixed-v1", num_agents=100)
    envs = gymnasium.make_vec("gradmap/Ieee123Mixed-v1", num_envs=8, num_agents=100)

Gymnasium looks for no environments of other packages by itself, so something
of ours must be imported first. This module is the light way: it loads neither
torch nor a feeder before `make` is called. Gymnasium also does the import when
the id names the module, as a configuration file would:

    gymnasium.make("gradmap.envs.registration:gradmap/Ieee123Mixed-v1")
"""

from __future__ import annotations

import gymnasium

GYMNASIUM_ID = "gradmap/Ieee123Mixed-v1"
"""Id of the published task in Gymnasium's registry."""

gymnasium.register(
    id=GYMNASIUM_ID,
    entry_point="gradmap.envs.vector:make_joint_env",
    vector_entry_point="gradmap.envs.vector:make_joint_vector_env",
    kwargs={"task": "ieee123-mixed-v1"},
)
