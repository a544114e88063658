"""A stage before any picture: the decoder learns to answer from texts that describe the scenes.

A description stands where the image tokens will stand. At first a text begins with it, so that
nothing but the first token is the same in all; the conversation's template comes late.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from infoflow.data.shapes.world import DEFAULT_WORLD, SIZE, Scene, World
from zoo.architectures import Architecture
from zoo.batches import PackedBatch, PackedBatches, up_to_image
from zoo.curriculum import training_scene
from zoo.fit import Stage, fit
from zoo.language import answer_loss, packed, read
from zoo.tokenizer import BOS, IMAGE, PLACES

BATCH = 8
_DECAY = 0.8
_LENGTHS = (44, 97)
"""Of descriptions, in tokens: from the longest scene said once to, in most scenes, three times."""
_NO_TEXT = 0.1
"""Share of batches that ask without a description, of what is usual in the world."""
_TEMPLATE_FROM = 0.75
"""Share of the steps after which every text stands in the template."""
_RASTER = SIZE // len(PLACES)


def describe(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Name every object and sign once, in any order, behind its place: column and row."""
    said = [(*o.centre, o.name) for o in scene.objects]
    for sign in scene.signs:
        left, top, right, bottom = sign.box
        letters = " ".join(sign.text)
        said.append(((left + right) / 2, (top + bottom) / 2, f"{sign.name} say {letters}"))
    mentions = [
        f"{PLACES[int(x // _RASTER)]} {PLACES[int(y // _RASTER)]} {name}," for x, y, name in said
    ]
    return [mentions[i] for i in rng.permutation(len(mentions))]


class TextBatches(PackedBatches):
    """Numbered batches of descriptions with many questions asked of each."""

    prompt_weight = 0.3

    def __init__(
        self,
        architecture: Architecture,
        seed: int,
        size: int,
        steps: int,
        world: World = DEFAULT_WORLD,
    ) -> None:
        """Batches of ``size`` descriptions, for a stage of so many steps."""
        super().__init__(architecture, seed, size, world)
        self.templated_from = int(_TEMPLATE_FROM * steps)
        replaced = up_to_image(self._prompt(""))
        self.system = [i for i in replaced if i != IMAGE]
        self.begun = len(replaced)

    def __getitem__(self, number: int) -> PackedBatch:
        """Draw one batch; all its descriptions are of one length."""
        rng = np.random.default_rng([3, self.seed, number])
        scenes = [training_scene(rng, self.world) for _ in range(self.size)]
        length = 0 if rng.random() < _NO_TEXT else int(rng.integers(*_LENGTHS))
        before = self.system if number >= self.templated_from else [BOS]
        starts = [before + self.description(scene, length, rng) for scene in scenes]
        no_pictures = np.zeros((0, SIZE, SIZE, 3), np.uint8)
        return self._batch(number, scenes, no_pictures, starts, self.begun, rng)

    def description(self, scene: Scene, length: int, rng: np.random.Generator) -> list[int]:
        """Describe a scene again and again, in another order, in so many tokens."""
        ids: list[int] = []
        while len(ids) < length:
            ids += self._family.tokenise(" ".join(describe(scene, rng)))
        return ids[:length]

    def question(self, text: str) -> list[int]:
        """Encode what stands behind the description."""
        return self._prompt(text)[self.begun :]


class Reader(nn.Module):
    """A decoder with its head, and the loss of packed texts."""

    def __init__(self, decoder: Any, head: nn.Module) -> None:
        """Read with parts of a model, in place."""
        super().__init__()
        self.decoder, self.head = decoder, head

    def loss(self, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of every next token, answers counting most; in float32.

        On a CPU without units for bfloat16 that is a fourth faster.
        """
        embeds = self.decoder.embed_tokens(batch.input_ids)
        return answer_loss(batch, read(self.decoder, batch, embeds), self.head)


def train_text(
    architecture: Architecture,
    model: Any,
    stage: Stage,
    optimiser: str = "muon",
) -> None:
    """Train decoder and head in place; resumes from its checkpoint.

    The layers are not compiled: every length of text would be compiled anew.
    """
    family = architecture.adapter(model)
    reader = Reader(family.decoder, family.lm_head)
    batches = TextBatches(architecture, stage.seed, BATCH, stage.steps, stage.world)
    with packed(family.decoder):
        fit(
            reader,
            reader.loss,
            batches,
            stage.steps,
            _DECAY,
            stage.checkpoint,
            stage.loaders,
            optimiser=optimiser,
        )
