"""Fewer layers than before, through the whole workflow: no forward pass."""

from __future__ import annotations

from collections import Counter

from tests.workflow.runs import WorkingCopy, nested
from tests.workflow.test_plan import found, planned

TARGET = "results/celeba_table.csv"
TRAIN = "celeba/activations/train/part_0.json"


def test_one_layer_of_two_is_restored(twin: WorkingCopy) -> None:
    """Planned as restored, restored, and with the wider extraction's own arrays."""
    wide, config = twin.members(TRAIN), nested("activations.layers", [2])
    plan = found(planned(twin, TARGET, config=config))
    assert plan["computed"] == Counter({"make_table": 1})
    assert plan["restored"]["extract_activations"] == 7  # shards of celeba and the general set
    assert twin.run(TARGET, config=config).ok().counts == (1, plan["restored"].total())
    narrow = twin.members(TRAIN)
    for shard, member in narrow.items():
        assert set(member["outputs"]) == {"embedding", "resid_post/02", "shard"}
        for array in ("embedding", "resid_post/02"):
            assert member["outputs"][array] == wide[shard]["outputs"][array]
        assert member["facts"] == wide[shard]["facts"]
