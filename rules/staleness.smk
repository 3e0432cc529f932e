# Which results are up to date: decided here, from keys of our own, before Snakemake builds the DAG.

from snakemake.iocontainers import Wildcards

CHAINS = Chains(
    list(workflow.rules), lambda found: Wildcards(fromdict=found), Path(STORE)
)
STALE = {}  # the pointers that are not up to date, each with the reason


def asked_for(dag):
    """The files that a run is asked for."""
    yield from map(str, dag.targetfiles)
    for rule in dag.targetrules:
        yield from (str(file) for file in [*rule.output, *rule.input])


def compare_first(prepare):
    """Lets Snakemake run the jobs of whatever is not up to date, as if it had been named with --forcerun.

    Snakemake has no hook between reading the rules and looking for what has to run.
    """

    @functools.wraps(prepare)
    def prepared(*words, **options):
        prepare(*words, **options)
        try:
            STALE.update(CHAINS.stale(asked_for(workflow.dag)))
        except ClipsteerError as error:
            raise WorkflowError(str(error)) from None
        workflow.dag.forcefiles.update(STALE)

    return prepared


if workflow.is_main_process:  # a job's own reading of the rules compares nothing
    workflow._prepare_dag = compare_first(workflow._prepare_dag)
