"""Takes the numbers below the limit out of the raw file."""

from clipsteer.runner.step import CACHES, Action, Job, Run, main


def plan(job: Job) -> dict[str, Action]:
    # the token stands for the content of the user's folder (clipsteer/runner/scan.py)
    return {"all": Action({**job.recipe, "token": job.facts("source")})}


def compute(run: Run) -> None:
    from tally import ran

    from clipsteer.runner.scan import ScannedTree, cached_digests

    ran("numbers")
    raw = ScannedTree(run.runtime.roots["raw"], cached_digests(CACHES / "scan-raw"))
    limit = run.recipe["limit"]
    lines = raw.read("numbers.txt").split()
    numbers = [number for number in map(int, lines) if number < limit]
    run.put_json("numbers", numbers)


if __name__ == "__main__":
    main(plan, compute, __doc__)
