"""Learns one weight from the scaled numbers of one branch."""

from clipsteer.runner.step import Action, Job, Run, main


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, {"values": job.output("transform", "values")})}


def compute(run: Run) -> None:
    from scaling import scaled
    from tally import ran
    from toydep import rounded

    ran(f"summary_{run.runtime.name}")
    rate = run.recipe["rate"]
    weight = 0.0
    for value in run.json("values"):
        weight += rate * (value - weight)
    run.put_json("summary", {"percent": rounded(scaled(weight, 0, 100))})


if __name__ == "__main__":
    main(plan, compute, __doc__)
