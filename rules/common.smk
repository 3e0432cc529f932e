# The configuration, checked, and what all rules have of it: names (OUTLINE), inputs that no pattern says
# (INPUTS), what reads activations (READERS), for the params `recipe`, `source` and `chain` the functions that give them
# (docs/store-protocol.md), and what jobs ask of a cluster. All of it is in clipsteer/workflow/; here it is
# made for this run.
#
# Parsing reads no data; only the main process looks at the user's folders, once each, before the DAG is built.

import sys

from snakemake.exceptions import WorkflowError

from clipsteer.config.check import validate
from clipsteer.errors import ClipsteerError
from clipsteer.slurm import check_profile
from clipsteer.store.roots import REFS
from clipsteer.workflow.chains import Chains
from clipsteer.workflow.commands import Commands, python_of
from clipsteer.workflow.description import Description
from clipsteer.workflow.inputs import Inputs
from clipsteer.workflow.needs import Needs
from clipsteer.workflow.outline import (
    DIRECTED,
    MODEL,
    STEERED,
    VOCABULARY,
    Outline,
    one_of,
)
from clipsteer.workflow.readers import (
    DROPPED,
    RESULTS,
    TYPOGRAPHIC,
    TYPOGRAPHIC_RESULTS,
    Readers,
)
from clipsteer.workflow.recipes import Recipes
from clipsteer.workflow.reported import about, in_report
from clipsteer.workflow.session import Session
from clipsteer.workflow.sources import Sources

BASE = Path(workflow.basedir)

try:
    check_profile(sys.argv)
    config = validate(config, Path.cwd())
    if workflow.is_main_process and config["runtime"].get("terminal") == "full":
        TERMINAL.show_all()
    OUTLINE = Outline(config, BASE, Path.cwd())
    INPUTS = Inputs(OUTLINE)
    READERS = Readers(OUTLINE)
    RECIPES = Recipes(OUTLINE)
    SOURCES = Sources(OUTLINE, RECIPES, scans=workflow.is_main_process)
    COMMANDS = Commands(OUTLINE, python_of(workflow))
    CHAINS = Chains(workflow, OUTLINE.store)  # which results are up to date
    NEEDS = Needs(workflow, OUTLINE, SOURCES, CHAINS)
    if workflow.is_main_process:
        SESSION = Session(workflow, OUTLINE, READERS, SOURCES, CHAINS, WATCH)
        SESSION.open()
        Description(workflow, CHAINS, NEEDS).at_exit()
except ClipsteerError as error:
    raise WorkflowError(str(error)) from None

shell_words, needs, expected_chain = COMMANDS.shell_words, NEEDS.of, CHAINS.expected


# Names that the configuration does not have are no rule's business: Snakemake says so of such a target.
wildcard_constraints:
    dataset=one_of(OUTLINE.datasets),
    dictionary=one_of(OUTLINE.dictionaries),
    split="train|train_augmented|validation|test|(train|validation|test)_attacked",
    part=one_of(OUTLINE.parts),
    block=one_of(OUTLINE.every_block),
    hook_point=one_of(OUTLINE.every_hook_point),


onstart:
    try:
        SESSION.begin(NEEDS.seconds)
    except ClipsteerError as error:
        raise WorkflowError(str(error)) from None
