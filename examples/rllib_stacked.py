"""IPPO with a policy for every agent, all stacked into one RLlib module. Needs: gradmap[rllib]."""

import argparse

import ray

import gradmap
import gradmap.envs.rllib  # puts the environment under RLlib's names
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.export import export_policy
from gradmap.baselines.rllib.ippo import ippo_config
from gradmap.experiments.evaluate import evaluate, pick_days

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--agents", type=int, default=20)
parser.add_argument("--iterations", type=int, default=2)
args = parser.parse_args()

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)  # no more processes than needed
# An ordinary PPOConfig; mappo_config makes one whose critics see the whole feeder.
config = ippo_config(PPOSettings(days_per_batch=4))
config.environment("gradmap/ieee123-mixed-joint-v1", env_config={"num_agents": args.agents})
algorithm = config.build_algo()
for iteration in range(args.iterations):
    found = algorithm.train()["env_runners"]
    print(f"{iteration}: reward ${found['episode_return_mean']:,.2f} a day, mean of the agents")

core = gradmap.make("ieee123-mixed-v1", num_agents=args.agents)
policy = export_policy(algorithm, core)  # what every part of gradmap takes
metrics = evaluate(core, policy, pick_days(core, "validation", 2)).metrics
print(f"cost ${metrics['cost_usd_per_day']:,.0f} a day on validation days")
algorithm.stop()
