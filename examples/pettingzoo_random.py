"""Random actions for a day, agent by agent, in PettingZoo. Needs: gradmap."""

import argparse
from collections import Counter

import gradmap

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--agents", type=int, default=20)
parser.add_argument("--day", default="2016-07-01", help="a day of 2016")
args = parser.parse_args()

env = gradmap.parallel_env("ieee123-mixed-v1", num_agents=args.agents)
for k, agent in enumerate(env.possible_agents):
    env.action_space(agent).seed(k)
observations, infos = env.reset(options={"day": args.day})  # without a day: one of training

terms, outside = Counter(), 0.0
while env.agents:  # empty once the day is over
    # An action is one number: -1 and 1 are the ends of what the device can do.
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    observations, rewards, terminations, truncations, infos = env.step(actions)
    for info in infos.values():
        terms.update(info["reward_terms"])  # they sum to the agent's reward
    costs = infos[env.possible_agents[0]]["constraint_costs"]  # of the network: the same for all
    outside += costs["over_pu"] + costs["under_pu"]

print(f"{args.day}, {args.agents} agents: reward ${sum(terms.values()):,.0f}, of which")
for name, dollars in terms.items():
    print(f"   {name}: ${dollars:,.0f}")
print(f"outside the voltage band: {outside:.2f} p.u., summed over nodes and half hours")
