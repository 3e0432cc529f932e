from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.heads import Heads


def unit(*shape: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 999))
def test_a_code_holds_the_class_and_every_other_heads_answer(
    k: int, others: int, seed: int
) -> None:
    head, more = unit(k, 8, seed=seed), unit(others, 2, 8, seed=seed + 1)
    images = 3 * torch.randn(40, 8, generator=torch.Generator().manual_seed(seed + 2))
    heads = Heads(head, more)
    codes = heads.codes(images)
    np.testing.assert_array_equal(heads.classes(codes), (images @ head.T).argmax(1).numpy())
    expected = [(images @ pair.T).argmax(1).numpy() for pair in more]
    answers = heads.others(codes)
    assert answers.shape == (40, others)
    for place, row in enumerate(expected):
        np.testing.assert_array_equal(answers[:, place], row)
    np.testing.assert_array_equal(Heads(head).codes(images), heads.classes(codes))
    read = heads.read(images)
    np.testing.assert_array_equal(read["code"], codes)
    units = images.double() / images.double().norm(dim=1, keepdim=True)
    np.testing.assert_allclose(read["scores"], (units @ head.double().T).numpy(), atol=1e-6)


def test_more_heads_than_a_code_can_hold_are_refused() -> None:
    Heads(unit(2, 4, seed=0), unit(29, 2, 4, seed=1))
    with pytest.raises(ValueError, match="have no code"):
        Heads(unit(2, 4, seed=0), unit(31, 2, 4, seed=1))
