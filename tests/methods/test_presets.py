"""The presets name the token operators, all of them."""

import pytest

from bigain.methods.ids import method_of
from bigain.methods.presets import METHODS
from bigain.tokens import OPERATORS


def test_every_preset_names_an_operator():
    assert {m.operator for m in METHODS.values() if m.acts_on in ("tokens", "keys_values")} == set(OPERATORS)
    with pytest.raises(ValueError, match="Did you mean 'todo'"):
        method_of("tod")
