"""Snakemake, whose plugin asks for the state of jobs every second.

A test would wait longer for the next look than for its jobs, as each look without news puts the next one
off by 10 s more. All else is the plugin's.

    python -P tests/slurm/impatient.py ...          as `snakemake ...`
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(
    lambda executor: 1.0, lambda executor, _: None
)

if __name__ == "__main__":
    main()
