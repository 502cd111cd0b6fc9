"""Write the embedded, synthetic data set.

python -m utils.sample [--rows N] [--seed S] DIR
"""

import argparse
from pathlib import Path

from utils.sample.dataset import ROWS, make_sample


def main() -> None:
    """Parse the command line and write the sample; bad arguments end with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.sample", description="Write the embedded, synthetic data set."
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="training rows per task (%(default)s); dev and test have a quarter each"
    )
    parser.add_argument("--seed", type=int, default=2025)
    arguments = parser.parse_args()
    try:
        make_sample(arguments.folder, arguments.rows, arguments.seed)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
