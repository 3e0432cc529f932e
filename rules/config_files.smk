# Looks at the config files as text, before Snakemake reads config.yaml: it keeps the last of two equal keys
# without a word, and does not say in which line a file is no YAML.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)

from clipsteer.config_files import check_files
from clipsteer.errors import ClipsteerError

if workflow.is_main_process:  # jobs read the same files
    try:
        # where there is no config.yaml, Snakemake says so
        check_files([*Path.cwd().glob("config.yaml"), *workflow.configfiles])
    except ClipsteerError as error:
        raise WorkflowError(str(error)) from None
