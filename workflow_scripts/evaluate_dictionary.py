"""Quality of each dictionary on the data set that is edited: explained variance, L0, dead features."""

from __future__ import annotations

from clipsteer.activations.inputs import array_inputs, open_reader
from clipsteer.dictionaries.inputs import dictionary_inputs, member_name, open_dictionary
from clipsteer.runner.step import Action, Job, Run, main


def plan(job: Job) -> dict[str, Action]:
    recipe = job.recipe
    return {
        member_name(job, layer): Action(
            {"architecture": recipe["architecture"]},
            {
                **dictionary_inputs(job, layer),
                **array_inputs(job, f"{recipe['hook_point']}/{layer:02d}"),
            },
        )
        for layer in recipe["layers"]
    }


def compute(run: Run) -> None:
    from clipsteer.clip.device import resolve_device
    from clipsteer.dictionaries.evaluate import evaluate

    device = resolve_device(run.runtime.device)
    reader = open_reader(run)
    dictionary = open_dictionary(run, reader.width, device)
    # two passes: the mean first
    progress = run.progress(2 * reader.n_images, "images", ("tokens", reader.n_tokens))
    metrics = evaluate(
        dictionary, lambda: (x for _, x in reader.batches(64)), device=device, progress=progress
    )
    progress.finish()
    run.put_json("evaluation", metrics)


if __name__ == "__main__":
    main(plan, compute, __doc__)
