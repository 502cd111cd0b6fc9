"""One rank of a job: torchrun --nproc_per_node 8 -m utils.worker JOB   (`utils.launch` does it for a notebook)."""

import json
import sys
from pathlib import Path

from utils import fitting, score
from utils.launch import take_part

KINDS = {"fit": fitting.work_on, "score": score.work_on}

if __name__ == "__main__":
    job = Path(sys.argv[1]).resolve()
    sys.exit(take_part(job, KINDS[json.loads(job.read_text("utf-8"))["kind"]]))
