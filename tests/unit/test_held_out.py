import numpy as np
import pytest
from cam_choice import choose_held_out

from infoflow.errors import InfoflowError


def test_the_choice_is_made_on_one_split_and_reported_on_the_other():
    calibration = np.zeros((10, 2, 3))
    calibration[:, 1, 2] = [1] * 8 + [0] * 2
    calibration[:, 0, 1] = 0.5
    calibration[:, 0, 0] = np.nan
    calibration[:, 1, 0] = [1] * 9 + [np.nan]
    test = np.ones((40, 2, 3))
    test[:10, 1, 2] = 0
    choice = choose_held_out(calibration, test)
    assert (choice.index, choice.calibration, choice.test) == ((1, 2), 0.8, 0.75)
    assert choice.interval[0] < 0.75 < choice.interval[1]
    test[0, 1, 2] = np.nan
    assert choose_held_out(calibration, test).index == (0, 1)


@pytest.mark.parametrize(
    ("calibration", "test", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 3)), "not those of the same candidates"),
        (np.ones((0, 2)), np.ones((3, 2)), "not those of the same candidates"),
        (np.ones(3), np.ones(3), "not those of the same candidates"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "no candidate"),
    ],
)
def test_a_choice_needs_candidates(calibration, test, message):
    with pytest.raises(InfoflowError, match=message):
        choose_held_out(calibration, test)
