"""Every fuzzing target on some inputs, in every run of the tests; ``make fuzz`` gives them many more."""

import pytest
from file_targets import run_safely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

EXAMPLES = {"bag": 15, "pickled_weights": 60, "metadata_weights": 60}
"""Where an input takes long; 150 elsewhere."""


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_an_input_error_comes_out(name):
    inputs = st.one_of(st.binary(max_size=200), st.binary(min_size=100, max_size=2000))

    @settings(max_examples=EXAMPLES.get(name, 150), deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def some(data):
        run_safely(TARGETS[name], data)

    some()


def test_each_target_is_reached_by_sound_inputs():
    """No bytes at all choose everything as it should be, or the least damage; so there is something to damage."""
    accepted = {name for name, target in TARGETS.items() if run_safely(target, bytes(4))}
    assert accepted >= {"camera_info", "transforms", "assembler", "wire", "recovery", "weights"}
