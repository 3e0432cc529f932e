"""What happens around one run of Snakemake: before its DAG, before its first job, and at its end."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clipsteer.config.lengths import config_warnings
from clipsteer.runner.bytecode import go_by_content
from clipsteer.runner.fence import begin, look
from clipsteer.runner.warm import start
from clipsteer.slurm import check_commands, check_requests, check_status_command, request
from clipsteer.store.drop import expect
from clipsteer.store.layout import share
from clipsteer.store.state import note_run, note_store
from clipsteer.workflow.closing import close
from clipsteer.workflow.outline import Outline
from clipsteer.workflow.places import check_places, check_writable, claim_pointers
from clipsteer.workflow.readers import Readers
from clipsteer.workflow.signals import cancel_orphans, hand_on_signals
from clipsteer.workflow.sources import Sources
from clipsteer.workflow.terminal import jobs_tell_all
from clipsteer.workflow.watch import ALL, Watch

if TYPE_CHECKING:  # it imports Snakemake
    from clipsteer.workflow.chains import Chains


class Session:
    """One run in the working directory, as its main process sees it.

    `workflow` is Snakemake's. Call `open` while the rules are read and `begin` before the first job; the
    closing lines come by themselves when the process ends.
    """

    def __init__(
        self,
        workflow: Any,
        outline: Outline,
        readers: Readers,
        sources: Sources,
        chains: Chains,
        watch: Watch,
    ) -> None:
        self._workflow, self._outline, self._readers = workflow, outline, readers
        self._sources, self._chains, self._watch = sources, chains, watch

    def open(self) -> None:
        """Look at the folders, and see to it that what is not up to date is found before the DAG is built.

        Raises ClipsteerError where no run may take place here. Also for dry runs: no result or pointer changes.
        """
        outline, folder = self._outline, self._outline.folder
        writes = not self._workflow.output_settings.dryrun
        check_places(outline.base, folder, outline.store, writes=writes)
        for warning in config_warnings(outline.config, folder):
            print(f"clipsteer: warning: {warning}", file=sys.stderr)
        self._seen = look()
        self._chains.compare_first(outline.datasets)
        for code in ("clipsteer", "workflow_scripts"):
            go_by_content(outline.base / code)
        self._noted = False
        atexit.register(self._close)

    def begin(self, seconds: Callable[[Any], float]) -> None:
        """What comes before the first job. Raises ClipsteerError where the run may not begin.

        `seconds`: how long one of Snakemake's jobs is likely to take.
        """
        if self._workflow.touch:  # then no job runs
            return
        outline, local = self._outline, self._workflow.local_exec
        folder, store = outline.folder, outline.store
        if self.on_slurm:
            check_commands()
            check_status_command(self._workflow.executor_settings.status_command)
            check_requests(self.requests())
            share(store)
        check_writable(folder)
        begin(self._seen)
        note_store(store, folder)
        claim_pointers(folder)
        self._note()
        cancel_orphans(folder)
        self.keep_edited()
        self._sources.note()
        if outline.config["runtime"]["warm_worker"] and local:
            start()
        expect(self._readers.among(self._workflow.dag.needrun_jobs()))
        if not local:
            jobs_tell_all()  # in Slurm's logs
        self._watch.expect(self.expected(seconds))
        hand_on_signals(folder, on_slurm=self.on_slurm)

    def _note(self) -> None:
        note_run(self._outline.told, self._outline.folder)
        self._noted = True

    def _close(self) -> None:
        if lines := close(self._workflow, self._watch, self._outline.store):
            if not self._noted:  # no job had to run
                self._note()
            print(lines, file=sys.stderr)

    @property
    def on_slurm(self) -> bool:
        plugin = self._workflow.executor_plugin
        return plugin is not None and bool(plugin.name == "slurm")

    def requests(self) -> dict[tuple[str, ...], str]:
        """What this run's jobs ask Slurm for at first, each with a rule that does."""
        jobs = [job for job in self._workflow.dag.needrun_jobs() if not job.is_local]
        return {request(job.resources, job.threads): job.rule.name for job in jobs}

    def expected(self, seconds: Callable[[Any], float]) -> dict[int, tuple[str, float]]:
        """The rule and the likely seconds of each job of this run, by its number."""
        jobs = [job for job in self._workflow.dag.needrun_jobs() if job.rule.name != ALL]
        return {job.jobid: (job.rule.name, seconds(job)) for job in jobs}

    def keep_edited(self) -> None:
        """Rename the edited results that this run makes again, before their jobs start."""
        jobs = self._workflow.dag.needrun_jobs()
        made = {str(file) for job in jobs for file in job.output}
        for file, place in self._chains.put_edited_aside(made):
            print(
                f"clipsteer: {file} was edited: it is made again, and yours is now {place}",
                file=sys.stderr,
            )
