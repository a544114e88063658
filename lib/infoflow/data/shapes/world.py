"""The synthetic world: which objects exist, which go together, and how a scene is laid out.

A scene is a board of 96 x 96 pixels with coloured shapes and lettered signs. Some objects are
common, and some often seen together, so that POPE's kinds of negatives mean something.
"""

import zlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate

import numpy as np

SIZE = 96  # side of an image in pixels
CELL = 12  # side of a patch; letters lie on this raster, so that each fills whole patches
Box = tuple[int, int, int, int]  # left, top, right and bottom in pixels
SHAPES = ("circle", "square", "triangle", "star", "heart", "moon", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SIGNS = ("white", "black")
_SHAPE_WEIGHT = np.array([5.0, 4.2, 3.6, 3.0, 2.6, 2.2, 1.8, 1.6])
_COLOUR_WEIGHT = np.array([2.4, 1.6, 2.2, 1.8, 1.2, 1.4])
THEMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sky": (("star", "moon", "circle"), ("yellow", "blue")),
    "road": (("triangle", "square", "circle"), ("red", "orange")),
    "garden": (("heart", "circle", "star"), ("green", "red")),
    "hospital": (("cross", "square", "heart"), ("red", "blue")),
    "party": (("ring", "star", "heart"), ("purple", "yellow")),
}
"""What each kind of scene favours: shapes and colours drawn more often, and so together."""
_FAVOUR_SHAPE, _FAVOUR_COLOUR = 3.0, 2.5
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORDS = (
    "ANT BAG BAT BED BEE BOX BUS CAB CAR CAT COW CUP DOG EAR EGG FAN FIG FLY FOX GAS GUM HAM HAT "
    "HEN ICE INK JAM JAR KEY KIT LEG LIP LOG MAP MUD MUG NET NUT OAK OIL OWL PAN PEN PIE PIG POT "
    "RAM RAT RUG SAW SEA SKY SPY SUN TAP TEA TIN TOE TOY URN VAN VET WAX WEB WIG YAK ZIP ZOO"
)
UNSEEN_WORDS = ("BUS", "CUP", "FOX", "HEN", "JAM", "KEY", "MUG", "OWL", "SKY", "TOE", "VAN", "WEB")
"""Words that stand on no sign of the training split, not even by chance."""
WORDS = tuple(word for word in _WORDS.split() if word not in UNSEEN_WORDS)
_GAP = 2
SPLITS = ("train", "calibration", "test")
_SPLIT_OF_BUCKET = ("test",) * 2 + ("calibration",) * 2 + ("train",) * 12


@dataclass(frozen=True)
class World:
    """How large things are, and how many a scene holds; all else is the same in every world."""

    object_sizes: tuple[int, ...] = (18, 20, 22, 24)  # sides in pixels, all as frequent
    letter: int = CELL  # side in pixels, a multiple of CELL
    n_objects: tuple[float, ...] = (0.1, 0.2, 0.35, 0.35)  # probabilities of two a scene, and on
    n_signs: tuple[float, ...] = (0.15, 0.5, 0.35)  # probabilities of none a scene, of one, and on
    crowded: int = 1  # how many objects fewer, but for two, a scene with the most signs holds

    @property
    def most_signs(self) -> int:
        return len(self.n_signs) - 1

    def fitting(self, n_objects: int, n_signs: int) -> int:
        """How many of so many objects a scene with so many signs has room for."""
        return max(2, n_objects - self.crowded * (n_signs == self.most_signs))


DEFAULT_WORLD = World()
WORLDS = {
    "shapes": DEFAULT_WORLD,
    "shapes-large": World((30, 34, 38), 2 * CELL, (0.1, 0.3, 0.6), (0.5, 0.5), crowded=2),
}
"""By the name of the source their items come from. In the second an object's box meets 9 to 25
patches and a letter fills 4, where those of the first meet 4 to 9 and fill 1."""


@dataclass(frozen=True)
class Object:
    """A coloured shape in a square box of ``size`` pixels at (``left``, ``top``)."""

    colour: str
    shape: str
    left: int
    top: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.size / 2, self.top + self.size / 2

    @property
    def box(self) -> Box:
        return self.left, self.top, self.left + self.size, self.top + self.size


@dataclass(frozen=True)
class Sign:
    """A white or black board with three letters."""

    colour: str
    text: str
    left: int
    top: int
    letter: int = field(default=CELL, repr=False)  # the world's: it says nothing of a split

    @property
    def name(self) -> str:
        return f"{self.colour} sign"

    @property
    def box(self) -> Box:
        return self.left, self.top, self.left + 3 * self.letter + 4, self.top + self.letter + 6

    def letter_box(self, index: int) -> Box:
        """Bounding box of one letter, in pixels; it coincides with whole image patches."""
        left, top = self.left + 2 + self.letter * index, self.top + 3
        return left, top, left + self.letter, top + self.letter


@dataclass(frozen=True)
class Scene:
    """What an image shows: objects from left to right, and signs."""

    objects: tuple[Object, ...]
    signs: tuple[Sign, ...]

    @property
    def split(self) -> str:
        """The one split this layout belongs to; splits are disjoint because layouts are."""
        return _SPLIT_OF_BUCKET[zlib.crc32(repr(self).encode()) % len(_SPLIT_OF_BUCKET)]

    def count(self, attribute: str) -> int:
        return sum(attribute in (o.colour, o.shape) for o in self.objects)


@cache
def object_names() -> tuple[str, ...]:
    """All 48 object names, colour by colour."""
    return tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


@cache
def theme_distribution() -> np.ndarray:
    """P(object | theme), shape (themes, 48), columns in the order of :func:`object_names`."""
    rows = []
    for shapes, colours in THEMES.values():
        s = _SHAPE_WEIGHT * [_FAVOUR_SHAPE if name in shapes else 1.0 for name in SHAPES]
        c = _COLOUR_WEIGHT * [_FAVOUR_COLOUR if name in colours else 1.0 for name in COLOURS]
        rows.append(np.outer(c, s).ravel() / (c.sum() * s.sum()))
    return np.array(rows)


@cache
def popularity() -> np.ndarray:
    """P(object) in the world, shape (48,): what POPE's *popular* negatives are ranked by."""
    return theme_distribution().mean(axis=0)


@cache
def co_occurrence() -> np.ndarray:
    """P(a, b drawn for one scene), shape (48, 48): what *adversarial* negatives are ranked by."""
    themes = theme_distribution()
    return np.asarray(np.einsum("ta,tb->ab", themes, themes) / len(themes))


def _overlaps(box: Box, others: list[Box]) -> bool:
    left, top, right, bottom = box
    for l, t, r, b in others:  # noqa: E741 - any() takes twice as long
        if left < r + _GAP and l < right + _GAP and top < b + _GAP and t < bottom + _GAP:
            return True
    return False


@cache
def _cumulative(theme: int, trait: str | None) -> tuple[list[float], float]:
    """Running sums of P(object | theme), and their total; of the objects with a trait, if named."""
    named = [trait is None or trait in name.split() for name in object_names()]
    p = theme_distribution()[theme] * named
    return np.cumsum(p).tolist(), float(p.sum())


def _draw_names(rng: np.random.Generator, n: int) -> list[tuple[str, str]]:
    """Distinct (colour, shape) pairs of one theme; half the scenes hold a crowd sharing a trait."""
    theme = int(rng.integers(len(THEMES)))
    names: list[tuple[str, str]] = []
    crowd = int(rng.integers(2, 5)) if rng.random() < 0.5 else 0
    shared = 0 if rng.random() < 0.5 else 1
    while len(names) < n:
        sums, total = _cumulative(theme, names[0][shared] if 0 < len(names) < crowd else None)
        c, s = divmod(bisect_left(sums, rng.random() * total), len(SHAPES))
        pair = (COLOURS[c], SHAPES[s])
        if pair not in names:
            names.append(pair)
    return names


def _draw_text(rng: np.random.Generator, unseen: bool) -> str:
    if unseen:
        return UNSEEN_WORDS[rng.integers(len(UNSEEN_WORDS))]
    if rng.random() < 0.4:
        return WORDS[rng.integers(len(WORDS))]
    while (text := "".join(LETTERS[i] for i in rng.integers(0, 26, 3))) in UNSEEN_WORDS:
        pass
    return text


def _place_signs(rng: np.random.Generator, n: int, unseen: bool, world: World) -> list[Sign] | None:
    signs: list[Sign] = []
    # the raster's places for the first letter: what is left of a sign stays inside the board
    columns, rows = SIZE // CELL - 3 * world.letter // CELL, SIZE // CELL - world.letter // CELL
    for colour in rng.permutation(SIGNS)[:n]:
        for _ in range(12):
            left = CELL * int(rng.integers(1, columns)) - 2
            top = CELL * int(rng.integers(1, rows)) - 3
            sign = Sign(str(colour), _draw_text(rng, unseen), left, top, world.letter)
            if not _overlaps(sign.box, [s.box for s in signs]):
                signs.append(sign)
                break
        else:
            return None
    return signs


def _place_objects(
    rng: np.random.Generator, n: int, signs: list[Sign], world: World
) -> list[Object] | None:
    objects: list[Object] = []
    near: set[int] = set()  # twice the columns that no centre may lie in
    taken = [sign.box for sign in signs]
    for colour, shape in _draw_names(rng, n):
        size = world.object_sizes[rng.integers(len(world.object_sizes))]
        for _ in range(15):
            left, top = int(rng.integers(SIZE - size + 1)), int(rng.integers(SIZE - size + 1))
            middle, box = 2 * left + size, (left, top, left + size, top + size)
            # captions name objects from left to right: keep the order unambiguous
            if middle not in near and not _overlaps(box, taken):
                objects.append(Object(colour, shape, left, top, size))
                near.update(range(middle - 7, middle + 8))
                taken.append(box)
                break
        else:
            return None
    return objects


def sample_scene(
    rng: np.random.Generator,
    split: str,
    *,
    n_signs: int | None = None,
    unseen: bool = False,
    world: World = DEFAULT_WORLD,
) -> Scene:
    """Draw a scene whose layout hashes into a split; ``unseen`` words are never trained on."""
    while True:
        n = _drawn(rng, world.n_signs) if n_signs is None else n_signs
        n_objects = world.fitting(2 + _drawn(rng, world.n_objects), n)
        signs = _place_signs(rng, n, unseen, world)
        objects = None if signs is None else _place_objects(rng, n_objects, signs, world)
        if signs is not None and objects is not None:
            scene = Scene(tuple(sorted(objects, key=lambda o: o.centre[0])), tuple(signs))
            if scene.split == split:
                return scene


def _drawn(rng: np.random.Generator, probabilities: tuple[float, ...]) -> int:
    return bisect_right([*accumulate(probabilities)], rng.random())
