"""`architecture: imported`: the architectures that a released dictionary may turn out to have.

Which of them it is, only its file says. A step that reads one imports this module, so that the code of all
counts for its results.
"""

from __future__ import annotations

from clipsteer.dictionaries.gated import Gated
from clipsteer.dictionaries.jumprelu import JumpReLU
from clipsteer.dictionaries.scaled_topk import ScaledTopK
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla

DICTIONARIES = (Vanilla, TopK, ScaledTopK, JumpReLU, Gated)
