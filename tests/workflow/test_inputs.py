"""The inputs that follow from the configuration."""

from __future__ import annotations

from itertools import product
from typing import Any

from clipsteer.config.grid import with_points
from clipsteer.workflow.inputs import Inputs
from clipsteer.workflow.outline import Outline
from clipsteer.workflow.readers import Readers
from tests.workflow.outlines import DEFAULT, outline, wildcards
from tests.workflow.runs import BASE

REFS = "artifacts/refs"


def inputs(**sections: Any) -> Inputs:
    small = {"activations": {"layers": [0, 2, 5]}, "jobs": {"layers_per_job": 2}}
    return Inputs(outline({**small, **sections}))


BLOCKS = ("layers_00-02", "layers_05-05")


def test_dictionaries_are_compared_where_two_read_the_same_hook_point() -> None:
    here = wildcards(dataset="celeba", block=BLOCKS[0])
    found = inputs(tables={"celeba": ["topk", "vanilla", "neurons"]})
    assert found.comparisons(here) == [
        f"{REFS}/celeba/nearest_directions/{block}.json" for block in BLOCKS
    ]
    assert found.trained_of_block(here) == [
        f"{REFS}/dictionaries/{name}/{BLOCKS[0]}.json" for name in ("topk", "vanilla")
    ]
    assert found.of_block("top_images")(here) == [
        f"{REFS}/celeba/{name}/{BLOCKS[0]}/top_images.json" for name in ("topk", "vanilla")
    ]
    assert inputs(tables={"celeba": ["topk", "neurons"]}).comparisons(here) == []


def test_pairs_are_painted_where_the_painter_changes_the_attribute_at_hand() -> None:
    here = wildcards(dataset="celeba")
    assert inputs().painted_pairs("validation")(here) == [
        f"{REFS}/celeba/painted_pairs/validation.json"
    ]
    other = {"options": {"spurious": "Smiling"}}
    for settings in (other, {"root": "/data/faces"}):
        assert inputs(datasets={"celeba": settings}).painted_pairs("test")(here) == []
    assert inputs(explorer={"views": {"images": 0}}).image_views(here) == []
    assert len(inputs().image_views(here)) == len(inputs().of_table("selection")(here))


def test_patched_weights_can_be_left_out() -> None:
    def asked(epochs: int) -> list[str]:
        found = inputs(typographic={"patching": {"epochs": epochs}}, jobs={})
        return [path for path in found.typographic(wildcards()) if "patched" in path]

    datasets = ("signs_tuning", "signs_ends", "signs_rows", "signs_bright")
    answers = [f"{REFS}/{name}/patched_answers.json" for name in datasets]
    assert asked(1) == [f"{REFS}/signs_tuning/patched.json", *answers]
    assert asked(0) == []


def test_images_are_painted_or_the_users() -> None:
    found = inputs(datasets={"waterbirds": {"root": "/data/birds"}})
    assert found.world(wildcards(dataset="celeba")) == [f"{REFS}/celeba/world.json"]
    assert found.world(wildcards(dataset="waterbirds")) == []


def test_a_dictionary_learns_from_the_copies_too_where_there_are_any() -> None:
    found = inputs(
        jobs={"layers_per_job": 2, "extraction_parts": 2},
        datasets={"general": {"augment": 0}, "waterbirds": {"augment": 3}},
    )

    def splits(dictionary: str) -> list[str]:
        return [
            path.removeprefix(f"{REFS}/")
            for path in found.training(wildcards(dictionary=dictionary))
        ]

    assert splits("topk") == [f"general/activations/train/part_{i}.json" for i in (0, 1)]
    assert splits("waterbirds_topk") == [
        f"waterbirds/activations/{split}/part_{i}.json"
        for split in ("train", "train_augmented")
        for i in (0, 1)
    ]


def test_the_neuron_basis_is_not_trained_and_has_no_control() -> None:
    found = inputs(tables={"celeba": ["neurons", "topk"]})
    at = wildcards(dataset="celeba", dictionary="topk", block=BLOCKS[0])
    assert found.trained(at) == [f"{REFS}/dictionaries/topk/{BLOCKS[0]}.json"]
    basis = wildcards(dataset="celeba", dictionary="neurons", block=BLOCKS[0])
    assert found.trained(basis) == []
    table = wildcards(dataset="celeba")
    assert found.trained_of_table(table) == [f"{REFS}/dictionaries/topk/{b}.json" for b in BLOCKS]
    assert found.of_table("ablation")(table) == [
        f"{REFS}/celeba/{name}/{block}/ablation.json"
        for name, block in product(("neurons", "topk"), BLOCKS)
    ]
    assert found.of_trained("control")(table) == [
        f"{REFS}/celeba/topk/{block}/control.json" for block in BLOCKS
    ]


def test_a_released_dictionary_is_judged_where_defences_are_tuned() -> None:
    """Benchmarks have no clean validation images."""
    theirs = {"architecture": "imported", "hook_point": "resid_post", "source": "hub:who/{layer}"}
    dictionaries = ["theirs", "signs_topk", "neurons"]
    found = inputs(
        dictionaries={"theirs": theirs}, typographic={"dictionaries": dictionaries}, jobs={}
    )
    block = "layers_00-02"
    for dataset in ("signs_tuning", "signs_ends"):
        expected = {
            "theirs": [f"{REFS}/signs_tuning/theirs/{block}/check.json"],
            "signs_topk": [f"{REFS}/dictionaries/signs_topk/{block}.json"],
            "neurons": [],
        }
        for name, pointers in expected.items():
            at = wildcards(dataset=dataset, dictionary=name, block=block)
            assert found.defended(at) == pointers


def test_captions_are_the_vocabulary_of_the_tiny_model_alone() -> None:
    worlds = ("web", "general")
    assert inputs().captioned(wildcards()) == [f"{REFS}/{name}/manifest.json" for name in worlds]
    assert inputs(vocabulary={"source": "words.txt"}).captioned(wildcards()) == []
    assert inputs(model={"source": "some/clip"}).captioned(wildcards()) == []


def test_no_inputs_for_a_data_set_without_a_table() -> None:
    made = outline({"tables": {"celeba": ["topk"], "waterbirds": []}})
    found = Inputs(made)
    at = wildcards(dataset="waterbirds")
    assert found.of_table("selection")(at) == []
    assert found.of_trained("control")(at) == []
    assert Readers(made).dropped("table")(at) == []


def test_what_a_sweep_and_the_comparison_of_dictionaries_read_goes_after_them() -> None:
    grid = {"grid": {"seed": [0, 1]}}
    sections = {"sweep": {"steer": False}, "tables": {"celeba": ["topk"], "waterbirds": []}}
    config = outline({"dictionaries": {"topk": grid}, **sections}).config
    made = Outline(
        with_points({**config, "activations": {"layers": [0], "keep": False}}), BASE, BASE
    )
    (other,) = made.dictionaries.keys() - DEFAULT["dictionaries"].keys()
    found, block = Inputs(made), "layers_00-00"
    for result, kinds in {
        "sweep": {"validation": ("evaluation", "spliced"), "test": ("evaluation_test",)},
        "stability": {"train": ("statistics",)},
    }.items():
        readers = Readers(made).of("celeba", result)
        assert set(readers.pop(("general", "train"))) == {
            f"{REFS}/dictionaries/{name}/{block}.json" for name in ("topk", other)
        }
        assert {split: set(files) for (_, split), files in readers.items()} == {
            split: {
                f"{REFS}/celeba/{name}/{block}/{kind}.json"
                for name, kind in product(("topk", other), of_split)
            }
            for split, of_split in kinds.items()
        }
    assert found.of_compared("selection")(wildcards(dataset="celeba")) == []
    assert found.recovery(wildcards(dataset="celeba")) == []
    for layout, paired in (("celeba", True), ("imagenet", False)):
        other_layout = {**made.datasets["celeba"], "layout": layout}
        config = {**made.config, "sweep": {"steer": True}}
        config["datasets"] = {**config["datasets"], "celeba": other_layout}
        steered = Outline(config, BASE, BASE)
        expected = [f"{REFS}/celeba/{name}/{block}/recovery.json" for name in ("topk", other)]
        assert Inputs(steered).recovery(wildcards(dataset="celeba")) == (expected if paired else [])
        read = Readers(steered).of("celeba", "stability")["celeba", "test"]
        assert {*expected} <= {*read} if paired else not {*expected} & {*read}
    assert Inputs(outline()).likeness(wildcards(dataset="celeba")) == [
        f"{REFS}/celeba/likeness/{block}.json" for block in ("layers_00-02", "layers_03-05")
    ]  # the table's own dictionaries are compared too


def test_a_dictionary_that_is_chosen_comes_after_all_its_points() -> None:
    chosen = {"grid": {"k": [4, 8], "seed": [0, 1]}, "choose": "pareto"}
    config = outline({"dictionaries": {"topk": chosen}, "sweep": {"steer": False}}).config
    small = {**config, "activations": {"layers": [0], "keep": True}, "tables": {"celeba": ["topk"]}}
    made = Outline(with_points(small), BASE, BASE)
    found, block = Inputs(made), "layers_00-00"
    at = wildcards(dataset="celeba", dictionary="topk", block=block)
    assert found.trained(at) == [f"{REFS}/celeba/topk/{block}/chosen.json"]
    points = [name for name in made.dictionaries if name.startswith("topk_g")]
    candidates = [name for name in points if "seed" not in made.dictionaries[name]]
    assert (len(points), len(candidates)) == (4, 2)  # seeds are not chosen among
    assert found.candidates(at) == [f"{REFS}/dictionaries/{n}/{block}.json" for n in candidates]
    quality = [f"{REFS}/celeba/{name}/{block}/evaluation.json" for name in candidates]
    assert found.candidates_quality(at) == quality
    assert set(quality) < set(Readers(made).of("celeba", "table")["celeba", "validation"])
    assert found.of_chosen("chosen")(wildcards(dataset="celeba")) == found.trained(at)
    # what a run notes for whoever has its pointers alone
    told = made.told["dictionaries"]
    assert [told[name]["chosen"] for name in ("topk", points[0], "neurons")] == [True, False, False]
    assert [told[name]["architecture"] for name in ("topk", "neurons")] == ["topk", "neurons"]
    assert made.told["cut"] == [block, *(f"part_{n}" for n in range(len(made.parts)))]
