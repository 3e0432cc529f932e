# Looks at the config files as text, before Snakemake reads config.yaml: it keeps the last of two equal keys
# without a word, and does not say in which line a file is no YAML.

from snakemake.exceptions import WorkflowError

from clipsteer.config.files import check_files
from clipsteer.errors import ClipsteerError

# The working directory's own, where there is one (snakemake --directory).
CONFIG_FILE = Path("config.yaml")
if not CONFIG_FILE.exists():
    CONFIG_FILE = Path(workflow.basedir, "config.yaml")

if workflow.is_main_process:  # jobs read the same files
    try:
        check_files([CONFIG_FILE, *workflow.configfiles])
    except ClipsteerError as error:
        raise WorkflowError(str(error)) from None
