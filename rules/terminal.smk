# What the terminal shows of a run, from the first file that is read: what is wrong with one is shown so, too.

import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from clipsteer.workflow.terminal import install
from clipsteer.workflow.watch import Watch

if workflow.is_main_process:
    WATCH = Watch(Path.cwd())
    TERMINAL = install(workflow.logger_manager, workflow.output_settings, WATCH)
