"""All agents as one in Gymnasium, a day alone and several days at once. Needs: gradmap."""

import argparse

import gymnasium
import numpy as np

import gradmap.envs.registration  # makes the id below known to Gymnasium

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--agents", type=int, default=20)
parser.add_argument("--days", type=int, default=8, help="days that are stepped together")
args = parser.parse_args()

# One day. The observation holds what every agent sees, and a state for a central critic.
env = gymnasium.make(gradmap.envs.registration.GYMNASIUM_ID, num_agents=args.agents)
observation, info = env.reset(seed=0)
print({name: array.shape for name, array in observation.items()}, env.action_space.shape)
total, is_over = 0.0, False
while not is_over:
    idle = np.zeros(env.action_space.shape, np.float32)  # every device in the middle
    observation, reward, is_over, _, info = env.step(idle)
    total += reward
print(f"one day: ${total:,.0f}")

# Several days, as one batched power flow a step; an agent of yours sees them as a batch.
envs = gymnasium.make_vec("gradmap/Ieee123Mixed-v1", num_envs=args.days, num_agents=args.agents)
observations, infos = envs.reset(seed=0)
totals, are_over = np.zeros(args.days), np.zeros(args.days, bool)
while not are_over.any():  # days begin and end together
    idle = np.zeros(envs.action_space.shape, np.float32)
    observations, rewards, are_over, _, infos = envs.step(idle)
    totals += rewards
print(f"{args.days} days: " + ", ".join(f"${dollars:,.0f}" for dollars in totals))
