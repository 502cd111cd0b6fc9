"""Run by `test_launch` inside a network namespace: a training on two machines that are namespaces.

python tests/training/hosts.py MODELS PLACE SHELL FIRST SECOND      writes PLACE/answers.txt
"""

import sys
from pathlib import Path

import numpy as np
from test_launch import RECIPE, train

from utils.training.ranks import Topology

if __name__ == "__main__":
    models, place, shell, *hosts = sys.argv[1:]
    topology = Topology(ranks=1, hosts=tuple(hosts), shell=shell)
    np.savetxt(Path(place) / "answers.txt", train(RECIPE.with_(zero_stage=2), Path(place), Path(models), topology))
