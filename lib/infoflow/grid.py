"""Where image tokens lie on the picture: from one value a token to one value a pixel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from infoflow.errors import InfoflowError


@dataclass(frozen=True)
class Grid:
    """The raster of an image's tokens and the place of the picture within it.

    Attributes:
        rows: Rows of tokens.
        cols: Tokens in a row; token ``i`` lies in row ``i // cols``, column ``i % cols``.
        box: The part of the raster's frame that the original picture covers, as fractions
            (left, top, right, bottom) of the frame's width and height. A picture padded to a
            square covers a band of the frame; a squashed one covers all of it, (0, 0, 1, 1).
    """

    rows: int
    cols: int
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def to_picture(self, values: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Resample one value a token to one value a pixel of the original picture.

        Each pixel's centre is looked up at its exact place in the frame, so padding needs no
        rounding to whole tokens. Values are interpolated bilinearly between token centres and
        held constant beyond the outermost ones.

        Args:
            values: One value a token, shape (rows * cols,) or (rows, cols).
            size: Width and height of the picture in pixels, as ``PIL.Image.size``.

        Returns:
            The map over the picture, shape (height, width).

        Raises:
            InfoflowError: ``values`` does not hold one value a token, or ``size`` is not positive.
        """
        array = np.asarray(values, dtype=np.float32)
        if array.shape not in {(self.rows * self.cols,), (self.rows, self.cols)}:
            raise InfoflowError(
                f"a map of shape {array.shape} does not fit a grid of {self.rows} x {self.cols} "
                f"tokens; valid: ({self.rows * self.cols},) or ({self.rows}, {self.cols})."
            )
        width, height = size
        if width < 1 or height < 1:
            raise InfoflowError(f"picture size {size!r} is empty; give (width, height) in pixels.")
        left, top, right, bottom = self.box
        x = _token_coordinates(left, right, width, self.cols)
        y = _token_coordinates(top, bottom, height, self.rows)
        sampled: npt.NDArray[np.float32] = map_coordinates(
            array.reshape(self.rows, self.cols),
            np.meshgrid(y, x, indexing="ij"),
            order=1,
            mode="nearest",
        )
        return sampled


def _token_coordinates(
    start: float, stop: float, n_pixels: int, n_tokens: int
) -> npt.NDArray[np.float64]:
    """Place pixel centres on an axis whose integers are token centres: shape (n_pixels,)."""
    centres = (np.arange(n_pixels) + 0.5) / n_pixels
    return (start + centres * (stop - start)) * n_tokens - 0.5
