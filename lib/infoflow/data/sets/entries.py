"""A benchmark's items as its files give them; a picture is read when it is asked for."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from PIL import Image

from infoflow.data.pictures import decode_image, read_image
from infoflow.data.sample import LazySamples, Sample
from infoflow.data.sets.files import is_file
from infoflow.data.sets.kinds import require_once
from infoflow.errors import InfoflowError

Picture = Path | Callable[[], bytes]
"""A picture's file, or what gives its bytes."""


@dataclass(frozen=True)
class Fields:
    """All of a sample but its picture; see :class:`infoflow.data.sample.Sample`."""

    id: str
    question: str
    answer: str
    kind: str
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    context: str = ""
    ocr: tuple[str, ...] | None = ()


@dataclass(frozen=True)
class Entry:
    """An item whose picture is still closed.

    Attributes:
        fields: All of it but the picture.
        picture: The picture's file, or what gives its bytes.
    """

    fields: Fields
    picture: Picture

    def open(self) -> Image.Image:
        """Read the picture as a viewer shows it (:func:`infoflow.data.pictures.read_image`).

        Published programs convert to RGB alone: the few pictures with an orientation tag or with
        transparency they see unturned, or with what lies hidden under the transparent pixels.

        Raises:
            InfoflowError: It is missing or damaged; the error names the item.
        """
        try:
            if isinstance(self.picture, Path):
                return read_image(self.picture)
            return decode_image(self.picture(), "its picture")
        except InfoflowError as error:
            raise InfoflowError(f"item {self.fields.id!r}: {error}") from error


class ClosedSample(Sample):
    """A sample that reads its picture each time it is asked for it, and does not keep it.

    All items of a benchmark can so be gone through, for their ids or their references, at no cost;
    held open, their pictures would fill the memory.
    """

    entry: Entry

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Make the sample of an entry; its picture stays closed."""
        sample = object.__new__(cls)  # the constructor would want the picture
        sample.__dict__.update(vars(entry.fields), regions={}, targets=(), entry=entry)
        return sample

    def __getattr__(self, name: str) -> Any:
        """Give what is not set: the picture of a sample made by :meth:`of`."""
        if name == "image":
            return self.entry.open()
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def asking(self, question: str) -> Self:
        """Return the same item with another question; the picture stays closed."""
        sample = object.__new__(type(self))
        sample.__dict__.update(vars(self), question=question)
        return sample


@dataclass(frozen=True)
class Entries(LazySamples):
    """The items of a benchmark, their pictures closed."""

    entries: Sequence[Entry]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.entries)

    def at(self, place: int) -> Sample:
        """Make the item of one entry."""
        return ClosedSample.of(self.entries[place])


def require_sound(entries: Sequence[Entry], where: str) -> None:
    """Check a split as a whole.

    Args:
        entries: Its items.
        where: What they were read from, to begin the error with.

    Raises:
        InfoflowError: There is no item, or two have the same id.
    """
    if not entries:
        raise InfoflowError(f"{where} holds no item; a split needs at least one.")
    require_once((entry.fields.id for entry in entries), "the item", where)


def require_pictures(entries: Sequence[Entry]) -> None:
    """Check that the pictures that are files are there; they are not opened.

    Raises:
        InfoflowError: One is missing; the error names the first of them and its item.
    """
    missing = [
        entry for entry in entries if isinstance(entry.picture, Path) and not is_file(entry.picture)
    ]
    if missing:
        raise InfoflowError(
            f"{len(missing)} of {len(entries)} pictures are missing, the first of them "
            f"{missing[0].picture} of item {missing[0].fields.id!r}."
        )


def digest(entries: Sequence[Entry]) -> str:
    """Digest what is asked and what is held to be right.

    A result is stored under it in place of a folder's name, so that moved data are the same data
    and changed data are not. Pictures do not count: hashing gigabytes at every start is too slow.

    Returns:
        12 hexadecimal digits.
    """
    lines = (json.dumps(asdict(entry.fields), sort_keys=True) for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
