"""Makes the published tasks known to Gymnasium, without loading them.

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

REGULATED_ID = "gradmap/Ieee123Regulated-v1"
"""Id of the one whose taps are alive."""

for _id, _task in ((GYMNASIUM_ID, "ieee123-mixed-v1"), (REGULATED_ID, "ieee123-regulated-v1")):
    gymnasium.register(
        id=_id,
        entry_point="gradmap.envs.vector:make_joint_env",
        vector_entry_point="gradmap.envs.vector:make_joint_vector_env",
        kwargs={"task": _task},
    )
