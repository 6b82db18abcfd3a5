"""RLlib's own PPO, one policy for each type of device. Needs: gradmap[rllib]."""

import argparse
import dataclasses

import ray

from gradmap.baselines.rllib.stock import STOCK_SETTINGS, stock_config

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--agents", type=int, default=20)
parser.add_argument("--iterations", type=int, default=2)
parser.add_argument("--days", type=int, default=4, help="days in a batch")
args = parser.parse_args()

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)  # no more processes than needed
settings = dataclasses.replace(STOCK_SETTINGS, days_per_batch=args.days)
# An ordinary PPOConfig, with everything in it still open to change. Its environment is
# "gradmap/ieee123-mixed-v1"; layout="agent" would give every agent a policy of its own.
config = stock_config(settings, num_agents=args.agents, layout="type")
config.debugging(seed=0, log_level="ERROR")

algorithm = config.build_algo()
for iteration in range(args.iterations):
    found = algorithm.train()["env_runners"]
    dollars = found["episode_return_mean"]  # all agents together, mean of the days so far
    print(f"{iteration}: reward ${dollars:,.0f} a day; of which by type:")
    for name, part in sorted(found["module_episode_returns_mean"].items()):
        print(f"   {name}: ${part:,.0f}")
algorithm.stop()
