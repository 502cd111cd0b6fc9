"""Run by `test_launch` inside a network namespace: a training on two machines that are namespaces.

python tests/training/hosts.py MODELS FOLDER SHELL FIRST SECOND      writes FOLDER/probabilities.txt
"""

import sys
from pathlib import Path

import numpy as np
from test_launch import RECIPE, train

from utils.training.ranks import Topology

if __name__ == "__main__":
    models, folder, shell, *hosts = sys.argv[1:]
    topology = Topology(ranks=1, hosts=tuple(hosts), shell=shell)
    np.savetxt(
        Path(folder) / "probabilities.txt", train(RECIPE.with_(zero_stage=2), Path(folder), Path(models), topology)
    )
