"""Program that starts a command in a new process for every moment, and kills it there."""

import os
import sys

from small_runs import MOMENTS, kill_at

import solo_bayesncl.training.pretraining  # noqa: F401  # once, as importing takes seconds

if __name__ == "__main__":
    for moment in MOMENTS:
        process = os.fork()
        if process == 0:
            kill_at(moment, sys.argv[1:])
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{moment} {os.waitstatus_to_exitcode(status)}\n")
