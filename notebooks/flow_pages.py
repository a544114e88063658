"""What the pages on attention flow share: how many heads hold half of what the image gets."""

import numpy as np


def heads_for_half(shares):
    """The smallest number of heads that together hold half of the image's attention."""
    held = np.sort(shares, axis=None)[::-1].cumsum()
    # rounding must not make one head more of two equal halves
    return int(np.argmax(held >= held[-1] / 2 * (1 - 1e-9))) + 1
