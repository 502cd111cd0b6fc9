"""One rank of a job of either kind: a training, or new pairs to answer.

torchrun --nproc_per_node 8 -m utils.experiment.worker JOB      (`utils.training.launch` does it for a notebook)
"""

import json
import sys
from pathlib import Path

from utils.experiment import answer, jobs
from utils.training.supervisor import take_part

KINDS = {"fit": jobs.run_job, "score": answer.run_job}

if __name__ == "__main__":
    job = Path(sys.argv[1]).resolve()
    take_part(job, KINDS[json.loads(job.read_text("utf-8"))["kind"]])
