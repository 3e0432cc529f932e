"""Puts the branches side by side."""

from clipsteer.runner.step import Action, Job, Run, main

BRANCHES = ("a", "b")


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, {b: job.output(b, "summary") for b in BRANCHES})}


def compute(run: Run) -> None:
    import json

    from tally import ran

    ran("report")
    report = {branch: run.json(branch) for branch in BRANCHES}
    run.put_bytes("report", (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main(plan, compute, __doc__)
