"""Scales the numbers of one branch."""

from clipsteer.runner.step import Action, Job, Run, main


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, {"numbers": job.output("numbers", "numbers")})}


def compute(run: Run) -> None:
    from scaling import scaled
    from tally import ran

    ran(f"transform_{run.runtime.name}")
    offset, factor = run.recipe["offset"], run.recipe["factor"]
    numbers = run.json("numbers")
    values = [scaled(number, offset, factor) for number in numbers]
    run.put_json("values", values)


if __name__ == "__main__":
    main(plan, compute, __doc__)
