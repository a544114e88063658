"""Write all that the live page needs to a folder: the model, the world, a still, its own files.

    python book/live/export.py tiny-llava-1.5 FOLDER

``weights.js`` holds the model in float16 and base64, in the layout of the page's matrix product;
``world.js`` the sprites and letters as Python draws them, and the scenes to begin with; both are
scripts, because a page opened from disk may load nothing else. ``still.html`` is what a reader
without scripts sees. The page itself knows no size, word or rule: all of them are written here.
"""

import base64
import html
import io
import json
import shutil
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from infoflow import LVLM, load_lvlm, truncation_sweep
from infoflow.data import shapes
from infoflow.data.shapes import questions as ask
from infoflow.data.shapes.render import _RGB, _SIGN_GREY, _glyph, _sprite, render
from infoflow.data.shapes.world import _GAP, CELL, LETTERS, SHAPES, SIZE, WORLDS, Scene, Sign, World
from infoflow.errors import InfoflowError
from infoflow.files import atomic_write, read_json
from infoflow.methods.cam import MAX_NEW_TOKENS
from infoflow.models.checkpoint import require_value
from infoflow.models.families.base import PLACEHOLDER
from infoflow.models.families.llava import Llava15
from infoflow.options import require_whole
from infoflow.report.style import COLOURS as PALETTE

HERE = Path(__file__).parent
PANEL = 8
"""Columns that the page's matrix product computes at once."""
START = "pope"
TASKS = (START, "textvqa", "scienceqa")
"""From each of them the page has one scene; it opens with the first."""
ASKERS = (
    *(ask.ask_presence(True, "random"), ask.ask_presence(False, "popular")),
    *(ask.ask_colour, ask.ask_count, ask.ask_relation, ask.ask_reading, ask.ask_caption),
    *(ask.choose_colour, ask.choose_count, ask.choose_relation),
)


def export(model: str, folder: Path) -> None:
    """Write the page's files for a model of the zoo.

    Args:
        model: Its name: one of LLaVA-1.5's architecture whose weights are float16.
        folder: Where they go; it is made if need be.

    Raises:
        InfoflowError: The page cannot run this model.
    """
    lvlm = load_lvlm(model, device="cpu", dtype="float32")
    name = read_json(lvlm.folder / "recipe.json").get("world", "shapes")
    world = WORLDS[name]
    folder.mkdir(parents=True, exist_ok=True)
    header, data = weights(lvlm)
    chosen = {task: first_telling(lvlm, task, name) for task in TASKS}
    scenes = {task: recorded(task, index, name) for task, index in chosen.items()}
    for file in [*HERE.glob("*.js"), *HERE.glob("*.css")]:
        shutil.copy(file, folder)
    write_script(folder / "weights.js", "INFOFLOW_WEIGHTS", header, data)
    rules, sprites = draw_world(world)
    write_script(folder / "world.js", "INFOFLOW_WORLD", {**rules, "scenes": scenes}, sprites)
    size = f"{round((folder / 'weights.js').stat().st_size / 1e6)} MB"
    atomic_write(folder / "still.html", still(lvlm, chosen[START], name, size).encode())


def write_script(path: Path, name: str, header: dict[str, Any], data: bytes) -> None:
    """Write a header and bytes as a script that defines a global."""
    text = json.dumps(header, separators=(",", ":"))
    content = f'globalThis.{name}={{header:{text},base64:"{base64.b64encode(data).decode()}"}};\n'
    atomic_write(path, content.encode())


# --- the model ------------------------------------------------------------------------------------


def weights(lvlm: LVLM) -> tuple[dict[str, Any], bytes]:
    """Read what the page is told of a model, and its weights as float16."""
    require_runnable(lvlm)
    parts, places, size = [], {}, 0
    for name, value in tensors(lvlm):
        half = value.astype(np.float16)
        if (half != value).any():
            raise InfoflowError(f"{lvlm.name}: {name} is more than float16; the page has no other.")
        places[name] = size
        parts.append(half.tobytes())
        size += value.size
    vision, text, processor = lvlm.family.vision, lvlm.decoder.config, lvlm.family.image_processor
    header = {
        "name": lvlm.name,
        "digest": lvlm.digest,
        "parameters": sum(p.numel() for p in lvlm.model.parameters()),
        "tensors": places,
        "tokens": token_rules(lvlm),
        "template": lvlm.family.template,
        "placeholder": PLACEHOLDER,
        "beginning": lvlm.family.beginning,
        "ends": lvlm.eos_token_ids,
        "newTokens": MAX_NEW_TOKENS,
        "connector": 2,
        "decoder": {
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": lvlm.n_layers,
            "mlp": text.intermediate_size,
            "vocabulary": text.vocab_size,
            "epsilon": text.rms_norm_eps,
            "theta": text.rope_parameters["rope_theta"],
        },
        "tower": {
            "width": vision.hidden_size,
            "heads": vision.num_attention_heads,
            "layers": tower_layers(lvlm),
            "mlp": vision.intermediate_size,
            "epsilon": vision.layer_norm_eps,
            "grid": lvlm.family.patches_a_side,
            "patch": vision.patch_size,
            "rescale": processor.rescale_factor,
            "mean": list(processor.image_mean),
            "std": list(processor.image_std),
        },
    }
    return header, b"".join(parts)


def require_runnable(lvlm: LVLM) -> None:
    """Raise unless the page's engine computes this model."""
    if not isinstance(lvlm.family, Llava15):
        raise InfoflowError(f"{lvlm.name}: the live page runs models of LLaVA-1.5's architecture.")
    text, vision = lvlm.decoder.config, lvlm.family.vision
    of = f"of {lvlm.name}"
    require_value(text.hidden_act, f"the activation {of}", "silu")
    require_value(text.num_key_value_heads, f"the key heads {of}", text.num_attention_heads)
    require_value(text.rope_parameters["rope_type"], f"the positions {of}", "default")
    require_value(bool(text.attention_bias or text.mlp_bias), f"a bias in the decoder {of}", False)
    require_value(text.head_dim, f"the width of a head {of}", text.hidden_size // lvlm.n_heads)
    require_value(vision.hidden_act, f"the tower's activation {of}", "quick_gelu")
    require_value(lvlm.model.config.projector_hidden_act, f"the connector {of}", "gelu")
    require_value(lvlm.family.pixels_a_side, f"the picture's side {of}", SIZE)
    heads = (text.head_dim, vision.hidden_size // vision.num_attention_heads)
    for width in (*heads, text.intermediate_size, vision.intermediate_size):
        require_value(width % PANEL, f"the remainder of the width {width} {of} by {PANEL}", 0)


def tower_layers(lvlm: LVLM) -> int:
    """How many of the tower's layers are read: the state after them goes to the connector."""
    wanted = lvlm.model.config.vision_feature_layer
    layers = lvlm.family.vision.num_hidden_layers
    return require_whole(wanted + layers + 1 if wanted < 0 else wanted, "the tower's layers", 1)


def tensors(lvlm: LVLM) -> Iterator[tuple[str, np.ndarray]]:
    """Name all that the engine reads, matrices in panels."""
    state = {name: value.float() for name, value in lvlm.model.state_dict().items()}

    def weight(*names: str) -> np.ndarray:
        return panels(torch.cat([state[f"{name}.weight"].flatten(1) for name in names]))

    def vector(*names: str) -> np.ndarray:
        return torch.cat([state[name] for name in names]).numpy()

    def affine(ours: str, *theirs: str) -> Iterator[tuple[str, np.ndarray]]:
        yield ours, weight(*theirs)
        yield f"{ours}.bias", vector(*(f"{name}.bias" for name in theirs))

    def norm(ours: str, theirs: str) -> Iterator[tuple[str, np.ndarray]]:
        yield ours, vector(f"{theirs}.weight")
        yield f"{ours}.bias", vector(f"{theirs}.bias")

    tower, text = "model.vision_tower", "model.language_model"
    yield "tower.patches", weight(f"{tower}.embeddings.patch_embedding")
    yield "tower.class", vector(f"{tower}.embeddings.class_embedding")
    yield "tower.places", vector(f"{tower}.embeddings.position_embedding.weight")
    yield from norm("tower.norm", f"{tower}.pre_layrnorm")
    for layer in range(tower_layers(lvlm)):
        ours, theirs = f"tower{layer}", f"{tower}.encoder.layers.{layer}"
        yield from affine(f"{ours}.qkv", *(f"{theirs}.self_attn.{x}_proj" for x in "qkv"))
        yield from affine(f"{ours}.o", f"{theirs}.self_attn.out_proj")
        for n in (1, 2):
            yield from affine(f"{ours}.mlp{n}", f"{theirs}.mlp.fc{n}")
            yield from norm(f"{ours}.norm{n}", f"{theirs}.layer_norm{n}")
    for n in (1, 2):
        yield from affine(f"connector{n}", f"model.multi_modal_projector.linear_{n}")
    yield "words", vector(f"{text}.embed_tokens.weight")
    for layer in range(lvlm.n_layers):
        ours, theirs = f"layer{layer}", f"{text}.layers.{layer}"
        yield f"{ours}.qkv", weight(*(f"{theirs}.self_attn.{x}_proj" for x in "qkv"))
        yield f"{ours}.o", weight(f"{theirs}.self_attn.o_proj")
        yield f"{ours}.gateUp", weight(f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")
        yield f"{ours}.down", weight(f"{theirs}.mlp.down_proj")
        yield f"{ours}.norm1", vector(f"{theirs}.input_layernorm.weight")
        yield f"{ours}.norm2", vector(f"{theirs}.post_attention_layernorm.weight")
    yield "norm", vector(f"{text}.norm.weight")
    yield "head", weight("lm_head")


def panels(matrix: Tensor) -> np.ndarray:
    """Cut a linear layer's weight, (outputs, inputs), into panels: (outputs / 8, inputs, 8)."""
    filled = np.pad(matrix.numpy(), ((0, -len(matrix) % PANEL), (0, 0)))
    return filled.reshape(-1, PANEL, filled.shape[1]).transpose(0, 2, 1)


def token_rules(lvlm: LVLM) -> dict[str, Any]:
    """Read the rules of the model's tokenizer: one token a word, closed up again by patterns."""
    rules = json.loads(lvlm.tokenizer.backend_tokenizer.to_str())
    splitter, closing = rules["pre_tokenizer"], rules["decoder"]["decoders"]
    of = f"in the tokenizer of {lvlm.name}"
    require_value(rules["model"]["type"], f"the model {of}", "WordLevel")
    require_value((splitter["behavior"], splitter["invert"]), f"the split {of}", ("Removed", True))
    kinds = [step["type"] for step in closing[:2]]
    require_value(kinds, f"the decoder {of}", ["WordPiece", "Fuse"])
    ids = lvlm.tokenizer.get_vocab()
    return {
        "vocabulary": sorted(ids, key=ids.__getitem__),
        "pattern": splitter["pattern"]["Regex"],
        "closing": [
            (next(iter(step["pattern"].values())), step["content"], "Regex" in step["pattern"])
            for step in closing[2:]
        ],
        "special": lvlm.tokenizer.all_special_tokens,
        "unknown": rules["model"]["unk_token"],
    }


# --- the world ------------------------------------------------------------------------------------


def draw_world(world: World) -> tuple[dict[str, Any], bytes]:
    """Tell what a scene may hold, and draw every sprite and letter, a byte a pixel."""
    parts = {f"{shape}{n}": _sprite(shape, n) for shape in SHAPES for n in world.object_sizes}
    parts |= {letter: _glyph(letter, world.letter) for letter in LETTERS}
    drawn = [np.rint(cover * 255).astype(np.uint8).tobytes() for cover in parts.values()]
    starts = np.cumsum([0, *map(len, drawn)]).tolist()
    at_corner = Sign(next(iter(_SIGN_GREY)), "AAA", 0, 0, world.letter)
    (left, top, *_), (_, _, width, height) = at_corner.letter_box(0), at_corner.box
    rules = {
        "side": SIZE,
        "gap": _GAP,
        "sprites": dict(zip(parts, starts, strict=False)),
        "colours": _RGB,
        "shapes": SHAPES,
        "sizes": world.object_sizes,
        "objects": [2, 1 + len(world.n_objects)],
        "palette": {group: PALETTE[group] for group in ("system", "image", "user")},
        "sign": {
            "greys": _SIGN_GREY,
            "letter": world.letter,
            "inset": [left, top],
            "size": [width, height],
            # letters fill whole patches
            "lefts": [x - left for x in range(0, SIZE, CELL) if 0 <= x - left <= SIZE - width],
            "tops": [y - top for y in range(0, SIZE, CELL) if 0 <= y - top <= SIZE - height],
            "most": world.most_signs,
        },
    }
    return rules, b"".join(drawn)


class Recorder:
    """A generator that remembers what was drawn from it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self.drawn = rng, []

    def __getattr__(self, name: str) -> Any:
        def draw(*arguments: Any, **options: Any) -> Any:
            self.drawn.append(getattr(self._rng, name)(*arguments, **options))
            return self.drawn[-1]

        return draw


def recorded(task: str, index: int, world: str) -> dict[str, Any]:
    """Give an item of the test split with all that its picture is drawn from, noise included."""
    scene, question, rng = shapes._kept_scene(task, "test", index, world)
    recorder = Recorder(deepcopy(rng))
    render(scene, recorder)
    grey, tints, shade, *rest = recorder.drawn
    noise = np.asarray(rest.pop(), np.float32)
    objects = [
        {"colour": thing.colour, "shape": thing.shape, "size": thing.size}
        | {"left": thing.left, "top": thing.top, "tint": list(rest.pop(0))}
        for thing in scene.objects
    ]
    signs = [
        {"colour": sign.colour, "text": sign.text, "left": sign.left, "top": sign.top}
        | {"jitter": int(rest.pop(0))}
        for sign in scene.signs
    ]
    return {
        "id": shapes._ID.format(task, "test", index),
        "question": question.text,
        "questions": other_questions(scene, question),
        "ground": {"grey": grey, "tints": list(tints), "shade": shade},
        "objects": objects,
        "signs": signs,
        "noise": base64.b64encode(noise.tobytes()).decode(),
    }


def other_questions(scene: Scene, own: ask.Question) -> list[str]:
    """Ask what the world asks about a scene, its own question first."""
    found = [own, *(asker(scene, np.random.default_rng(0)) for asker in ASKERS)]
    return list(dict.fromkeys(question.text for question in found if question))


def first_telling(lvlm: LVLM, task: str, world: str) -> int:
    """Find the first item that is answered right with the picture and wrong without it."""
    for index in range(shapes.ITEMS_PER_SPLIT):
        sample = shapes.sample(task, "test", index, world)
        prompt = lvlm.prompt(sample.image, sample.question)
        cuts = truncation_sweep(lvlm, prompt, cuts=[0, lvlm.n_layers], max_new_tokens=8)
        blind, intact = (lvlm.decode(tokens) for tokens in cuts.tokens)
        if intact == sample.answer != blind:
            return index
    raise InfoflowError(f"{lvlm.name} answers no item of {task} by the image.")


# --- without scripts ------------------------------------------------------------------------------


def still(lvlm: LVLM, index: int, world: str, size: str) -> str:
    """Show the scene that the page opens with, and Python's answers at every cut, as a figure."""
    sample = shapes.sample(START, "test", index, world)
    sweep = truncation_sweep(lvlm, lvlm.prompt(sample.image, sample.question), max_new_tokens=8)
    right = sweep.logits.softmax(-1)[:, lvlm.encode_answer(sample.answer)[0]]
    rows = "".join(
        f"<tr><th scope='row'>{cut}</th><td class='words'>{html.escape(lvlm.decode(tokens))}</td>"
        f"<td>{probability:.2f}</td></tr>"
        for cut, tokens, probability in zip(sweep.cuts, sweep.tokens, right, strict=True)
    )
    picture = io.BytesIO()
    large = sample.image.resize((3 * SIZE, 3 * SIZE), Image.Resampling.NEAREST)
    large.save(picture, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    question, answer = html.escape(sample.question), html.escape(sample.answer)
    return f"""<figure class="live" data-start="{START}" data-size="{size}">
<div class="live-still"><img src="{source}" alt="A scene with {", ".join(sample.objects)}.">
<div class="table-scroll" tabindex="0" role="region" aria-label="Answers at every cut"><table>
<thead><tr><th scope="col">layers that see the image</th><th scope="col" class="words">answer</th>
<th scope="col">probability of “{answer}”</th></tr></thead><tbody>{rows}</tbody></table></div></div>
<figcaption>{question} What <code>{lvlm.name}</code> answers when only its first layers see the
image, of all {lvlm.n_layers}; right is “{answer}”. Item <code>{sample.id}</code>, computed by
the library when this book was built; weights <code>{lvlm.digest[:12]}</code>.</figcaption></figure>
"""


if __name__ == "__main__":
    try:
        export(sys.argv[1], Path(sys.argv[2]))
    except InfoflowError as error:
        sys.exit(f"error: {error}")
