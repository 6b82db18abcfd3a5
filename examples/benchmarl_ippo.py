"""BenchMARL's own IPPO or MAPPO, judged on validation days. Needs: gradmap[benchmarl]."""

import argparse
import os
import tempfile

from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

from gradmap.envs.benchmarl import EvaluateOn, FeederTask

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--agents", type=int, default=20)
parser.add_argument("--iterations", type=int, default=3)
parser.add_argument("--algorithm", choices=["ippo", "mappo"], default="ippo")
parser.add_argument("--out", help="folder of the results; a temporary one if not given")
args = parser.parse_args()
folder = os.path.abspath(args.out or tempfile.mkdtemp())
os.makedirs(folder, exist_ok=True)

config = ExperimentConfig.get_from_yaml()  # BenchMARL's defaults; below, what differs
config.max_n_frames, config.max_n_iters = None, args.iterations
config.on_policy_n_envs_per_worker = 4  # days that are stepped together
config.on_policy_collected_frames_per_batch = 4 * 48  # whole days of 48 half hours
config.on_policy_minibatch_size, config.on_policy_n_minibatch_iters = 96, 4
config.lr, config.share_policy_params = 5e-4, False  # a network for every agent
config.evaluation_interval, config.evaluation_episodes = 4 * 48, 4
config.loggers, config.save_folder = ["csv"], folder  # the defaults ask for wandb

task = FeederTask.IEEE123_MIXED_V1.get_task({"num_agents": args.agents})
algorithm = {"ippo": IppoConfig, "mappo": MappoConfig}[args.algorithm].get_from_yaml()
model = MlpConfig.get_from_yaml()
judge = EvaluateOn("validation")
experiment = Experiment(task, algorithm, model, seed=0, config=config, callbacks=[judge])
experiment.run()
# BenchMARL's mean over the agents of a group, then over groups: not the feeder's total.
print(f"${experiment.mean_return:,.2f} per agent and day; the rest is in {experiment.folder_name}")
