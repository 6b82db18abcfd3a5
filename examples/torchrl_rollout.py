"""Random actions in TorchRL, a batch of days at once. Needs: gradmap[torchrl]."""

import argparse

from gradmap.envs.torchrl import make_torchrl_env

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--agents", type=int, default=20)
parser.add_argument("--days", type=int, default=8, help="days that are stepped together")
args = parser.parse_args()

env = make_torchrl_env(num_agents=args.agents, batch_size=args.days)
env.set_seed(0)  # of the choice of days
data = env.rollout(env.core.num_steps)  # a policy would be the second argument

print(f"{tuple(data.shape)} steps (days, half hours); each group has its own entries:")
for group, agents in env.group_map.items():
    seen = tuple(data[group, "observation"].shape)
    dollars = data["next", group, "reward"].sum((1, 3)).mean()
    print(
        f"  {group}: {len(agents)} agents, observations {seen}, ${dollars:,.2f} per agent and day"
    )
print(f"state for a central critic: {tuple(data['state'].shape)}")
outside = data["next", "info", "over_pu"] + data["next", "info", "under_pu"]
print(f"outside the voltage band: {outside.sum(1).mean():.2f} p.u. a day, summed over nodes")
