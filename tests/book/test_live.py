"""The live page, opened from disk as a reader would, held to the library's numbers."""

import base64
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_browser
import torch
from markdown_it import MarkdownIt
from masked import EDGES, cut_edge
from mdit_py_plugins.deflist import deflist_plugin
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from transformers import LlavaConfig, LlavaForConditionalGeneration

from infoflow import LVLM, Prompt, attention_flow, llava_cam, load_lvlm, truncation_sweep
from infoflow.data import shapes
from infoflow.data.sample import Sample
from infoflow.data.shapes.world import WORLDS
from infoflow.errors import InfoflowError
from infoflow.methods.cam import MAX_NEW_TOKENS

BOOK = Path(__file__).resolve().parents[2] / "book"
sys.path.insert(0, str(BOOK / "live"))

from export import draw_world, export, recorded, require_runnable, weights  # noqa: E402

MODEL = "tiny-llava-1.5"
WORLD = "shapes"
NEW = 12
LOGITS, SHARES, OF_PEAK = 1e-4, 2e-6, 2e-4
ITEMS = [
    *(("pope", i) for i in range(20)),
    *(("textvqa", i) for i in range(17)),
    *(("scienceqa", i) for i in range(10)),
    *(("chair", i) for i in range(3)),
]
WITH_MAPS = 4  # of every so many items
COMPUTE = """
async ([items, plain, other]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0));
  const render = infoflowRenderer(INFOFLOW_WORLD), lists = (rows) => rows.map((row) => [...row]);
  const weights = other ?? INFOFLOW_WEIGHTS, header = { ...weights.header, newTokens: NEW };
  const engine = await infoflowEngine({ header, bytes: bytes(weights.base64) }, plain);
  const L = engine.layers;
  const cuts = Array.from({ length: L + 1 }, (_, first) => ({ first, stop: L }));
  return items.map(({ scene, edge, first, stop, withMaps }) => {
    const pixels = render(scene, new Float32Array(bytes(scene.noise).buffer));
    engine.look(pixels);
    engine.ask(scene.question);
    const read = () => {
      const { logits, answer, rows, maps } = engine.read(edge, { first, stop });
      return { logits: [...logits], said: engine.tokens.decode(answer), rows: rows.map(lists),
        maps: lists([...maps].reverse()) };
    };
    // the page reads before it sweeps, and again where the slider is moved
    const before = withMaps && read();
    const swept = engine.sweep("picture", cuts.slice(plain ? -1 : 0));
    if (plain) return { logits: lists(swept.logits), said: swept.answers.map(engine.tokens.decode),
      read: [before] }; // so slow that this must do
    const after = withMaps && read();
    const cut = engine.sweep(edge, [{ first, stop }, { first: L, stop: L }]);
    return {
      pixels: btoa(String.fromCharCode(...pixels)),
      logits: lists(swept.logits), said: swept.answers.map(engine.tokens.decode),
      cutLogits: lists(cut.logits), cutSaid: engine.tokens.decode(cut.answers[0]),
      read: withMaps ? [before, after] : [],
    };
  });
}""".replace("NEW", str(NEW))
PAGE = """() => {
  const { found, pixels, shares } = document.querySelector("figure.live").live;
  return {
    pixels: btoa(String.fromCharCode(...pixels)),
    place: found.place, edge: found.edge, block: found.blocks[found.place],
    answer: found.answer, read: [...found.logits],
    said: found.answers, logits: found.swept.map((row) => [...row]),
    shares: found.rows.map((_, layer) => shares(layer)),
    maps: found.maps.map((map) => [...map]),
  };
}"""

pytestmark = test_browser.pytestmark


@pytest.fixture(scope="module")
def lvlm() -> LVLM:
    return load_lvlm(MODEL, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with all that it loads, laid out as in the book, without the book's theme."""
    root = tmp_path_factory.mktemp("site")
    live = root / "_static" / "live"
    export(MODEL, live)
    shutil.copy(BOOK / "_static" / "infoflow.css", root / "_static")
    text = (BOOK / "live.md").read_text("utf-8")
    figure = re.compile(r"```\{raw\} html\n:file: \S+/still.html\n```")
    assert figure.search(text)
    text = figure.sub(lambda _: (live / "still.html").read_text("utf-8"), text)
    text = re.sub(r"```\{raw\} html\n(.*?)```", r"\1", text, flags=re.DOTALL)
    parser = MarkdownIt("commonmark", {"html": True}).use(deflist_plugin)
    sections = re.split(r"(?=<h2>)", parser.render(text))
    ids = [re.sub(r"\W+", "-", re.findall("<h[12]>(.*?)<", each)[0].lower()) for each in sections]
    body = "".join(f"<section id='{i}'>{s}</section>" for i, s in zip(ids, sections, strict=True))
    page = root / "book" / "live.html"
    page.parent.mkdir()
    page.write_text(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Live</title>"
        "<meta name='viewport' content='width=device-width'>"
        "<link rel='stylesheet' href='../_static/infoflow.css'></head>"
        f"<body><main class='bd-content'><article class='bd-article'>{body}</article></main>",
        "utf-8",
    )
    return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=test_browser.CHROMIUM, headless=True, args=test_browser.QUIET
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def engine(browser: Browser, site: Path) -> Iterator[Page]:
    """A tab with the page's scripts and without the page."""
    tab = browser.new_page()
    tab.goto("about:blank")
    blank = site.with_name("engine.html")
    names = ("weights", "world", "kernel", "tokens", "engine", "render")
    tags = "".join(f"<script src='../_static/live/{name}.js'></script>" for name in names)
    blank.write_text(f"<!doctype html><title>Engine</title>{tags}", "utf-8")
    tab.goto(blank.as_uri())
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def visit(browser: Browser, site: Path) -> Iterator[test_browser.Visit]:
    """The page on a phone, opened once."""
    with test_browser.opened(browser, site) as visit:
        yield visit


def questioned(lvlm: LVLM) -> list[dict[str, Any]]:
    """Fifty items, each with an edge to cut in some layers; edges and layers take turns."""
    found = []
    for number, (task, index) in enumerate(ITEMS):
        first = number % lvlm.n_layers
        stop = lvlm.n_layers if number // len(EDGES) % 2 else min(first + 3, lvlm.n_layers)
        edge = {"edge": EDGES[number % len(EDGES)], "first": first, "stop": stop}
        scene = recorded(task, index, WORLD)
        # so that every edge has its turn
        with_maps = (number + number // WITH_MAPS) % WITH_MAPS == 0
        found.append({"scene": scene, "withMaps": with_maps, **edge})
    return found


def test_fifty_scenes_all_cuts_and_every_edge(engine: Page, lvlm: LVLM) -> None:
    items = questioned(lvlm)
    assert {item["edge"] for item in items if item["withMaps"]} == set(EDGES)
    pages = engine.evaluate(COMPUTE, [items, False, None])
    for (task, index), item, page in zip(ITEMS, items, pages, strict=True):
        sample = shapes.sample(task, "test", index)
        assert base64.b64decode(page["pixels"]) == np.asarray(sample.image).tobytes(), sample.id
        check_item(page, item, lvlm, sample)


def check_item(page: dict[str, Any], item: dict[str, Any], lvlm: LVLM, sample: Sample) -> None:
    """Hold all cuts of an item, and its edge, to the library's numbers."""
    prompt = lvlm.prompt(sample.image, sample.question)
    check_sweep(page, lvlm, prompt, NEW)
    uncut = torch.tensor(page["logits"][-1])  # it is found again, whatever was cut before
    with cut_edge(lvlm, item["edge"], item["first"], item["stop"]):
        logits = lvlm.logits(prompt)[0, -1]
        near(page["cutLogits"], torch.stack([logits, uncut]), LOGITS)
        if item["withMaps"]:
            answer = lvlm.generate(prompt, NEW)
            assert page["cutSaid"] == lvlm.decode(answer), (sample.id, item["edge"])
            for read in page["read"]:
                assert read["said"] == page["cutSaid"]
                near(read["logits"], logits, LOGITS)
                check_inside(read["rows"], read["maps"], lvlm, prompt, answer)


def test_a_model_of_other_sizes(engine: Page, tmp_path: Path) -> None:
    """No size is the page's own: all are read from the model."""
    lvlm = random_model(tmp_path / "other")
    header, data = weights(lvlm)
    given = {"header": header, "base64": base64.b64encode(data).decode()}
    items = [item for item in questioned(lvlm) if item["withMaps"]][:4]
    pages = engine.evaluate(COMPUTE, [items, False, given])
    for item, page in zip(items, pages, strict=True):
        task, _, index = item["scene"]["id"].split("-")
        check_item(page, item, lvlm, shapes.sample(task, "test", int(index)))


def random_model(folder: Path) -> LVLM:
    """A LLaVA-1.5 of the zoo's vocabulary, otherwise other in every size, with random weights."""
    zoo = load_lvlm(MODEL, device="cpu").folder
    shutil.copytree(zoo, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = LlavaConfig.from_pretrained(zoo)
    config.image_seq_length = 36
    for name, value in {
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_attention_heads": 3,
    }.items():
        setattr(config.text_config, name, value)
    config.text_config.num_key_value_heads, config.text_config.head_dim = 3, 16
    config.text_config.num_hidden_layers, config.text_config.rms_norm_eps = 4, 1e-6
    config.text_config.rope_parameters["rope_theta"] = 500.0
    for name, value in {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_attention_heads": 4,
    }.items():
        setattr(config.vision_config, name, value)
    config.vision_config.patch_size, config.vision_config.num_hidden_layers = 16, 4
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).half().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    return load_lvlm(MODEL, checkpoint=folder, device="cpu", dtype="float32")


def test_a_scene_of_the_other_world_is_drawn_alike(engine: Page) -> None:
    name = "shapes-large"
    rules, sprites = draw_world(WORLDS[name])
    world = {"header": rules, "base64": base64.b64encode(sprites).decode()}
    page = """([world, scenes]) => scenes.map((scene) => {
        const noise = Uint8Array.from(atob(scene.noise), (byte) => byte.charCodeAt(0));
        const pixels = infoflowRenderer(world)(scene, new Float32Array(noise.buffer));
        return btoa(String.fromCharCode(...pixels));
    })"""
    drawn = engine.evaluate(page, [world, [recorded("textvqa", i, name) for i in range(3)]])
    for index, pixels in enumerate(drawn):
        sample = shapes.sample("textvqa", "test", index, name)
        assert base64.b64decode(pixels) == np.asarray(sample.image).tobytes()


def near(found: Any, expected: torch.Tensor, tolerance: float) -> None:
    mine = torch.tensor(found)
    assert mine.shape == expected.shape
    assert float((mine - expected).abs().max()) <= tolerance


def check_sweep(page: dict[str, Any], lvlm: LVLM, prompt: Prompt, n_tokens: int) -> None:
    sweep = truncation_sweep(lvlm, prompt, max_new_tokens=n_tokens)
    near(page["logits"], sweep.logits, LOGITS)
    assert page["said"] == [lvlm.decode(tokens) for tokens in sweep.tokens]


def check_inside(rows: Any, maps: Any, lvlm: LVLM, prompt: Prompt, answer: torch.Tensor) -> None:
    """Hold attention by layer and head, and maps, to the library's under the same cut."""
    flow = attention_flow(lvlm, prompt)
    mean = torch.tensor(rows, dtype=torch.float64).mean(1)
    shares = torch.stack([mean[:, span].sum(-1) for span in prompt.spans], dim=-1)
    near(shares.tolist(), flow.shares, SHARES)
    near(rows, flow.rows, 10 * SHARES)  # heads one by one
    check_maps(maps, lvlm, prompt, answer)


def check_maps(maps: Any, lvlm: LVLM, prompt: Prompt, answer: torch.Tensor) -> None:
    assert len(maps) == (lvlm.n_layers - 1 if len(answer) else 0)
    if maps:
        expected = llava_cam(lvlm, prompt, answer, n_samples=1, sigma=0.0).by_token[:-1]
        peaks = expected.amax(1, keepdim=True)
        apart = (torch.tensor(maps) - expected).abs()
        assert bool((apart <= OF_PEAK * peaks).all())


def test_without_webassembly_the_numbers_are_the_same(engine: Page, lvlm: LVLM) -> None:
    (item,) = questioned(lvlm)[:1]
    (fast,) = engine.evaluate(COMPUTE, [[item], False, None])
    (plain,) = engine.evaluate(COMPUTE, [[item], True, None])
    assert plain["said"] == fast["said"][-1:]
    near(plain["logits"], torch.tensor(fast["logits"][-1:]), LOGITS)
    near(plain["read"][0]["rows"], torch.tensor(fast["read"][0]["rows"]), 10 * SHARES)
    assert plain["logits"] != fast["logits"][-1:], "these came from the same product"


KERNELS = """
async () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const F = new Float32Array(memory.buffer), kernels = { plain: infoflowPlainKernel(F) };
  for (const kernel of [infoflowKernel(true), infoflowKernel(false)].filter(WebAssembly.validate)) {
    const { instance } = await WebAssembly.instantiate(kernel, { env: { memory } });
    kernels[`of ${kernel.length} bytes`] = instance.exports;
  }
  const part = (from, n) => [...F.slice(from, from + n)];
  return Object.entries(kernels).map(([name, { product, softmax, sigmoid }]) => {
    for (let i = 0; i < F.length; i++) F[i] = Math.sin(i);
    const products = Array.from({ length: 13 }, (_, i) => {
      const to = 1024 * (i + 1);
      product(16, 1, 13, 256, 8, 13 * 8, to, 16, i + 1, 13, 16, 1);
      return part(to, 1024);
    });
    F.fill(-Infinity, 20, 23);
    F[25] = -300;
    softmax(16, 16, 3);
    for (let i = 0; i < 64; i++) F[64 + i] = 10 * (i - 32);
    sigmoid(64, 128, 64, 1.702);
    return [name, products, part(16, 16), part(128, 64)];
  });
}"""


def test_kernels_of_every_kind_agree(engine: Page) -> None:
    numbers = torch.arange(16384, dtype=torch.float64).sin()
    a = numbers[16 : 16 + 13 * 13].view(13, 13).T  # it lies transposed
    b = numbers[256 : 256 + 2 * 13 * 8].view(2, 13, 8).transpose(0, 1).reshape(13, 16)
    scores = numbers[16:32].clone()
    scores[4:7], scores[9] = -torch.inf, -300
    sigmoids = (1.702 * 10 * torch.arange(-32.0, 32.0, dtype=torch.float64)).sigmoid()
    kernels = engine.evaluate(KERNELS)
    assert len({name for name, *_ in kernels}) > 1, "this browser has no WebAssembly with vectors"
    for _, products, shares, gates in kernels:
        for rows, found in enumerate(products, 1):  # no other row is written to
            expected = numbers[1024 * rows : 1024 * (rows + 1)].clone()
            expected[: rows * 16] += (a[:rows] @ b).flatten()
            near(found, expected.float(), 1e-5)
        near(shares, (3 * scores).softmax(0).float(), 3e-7)
        assert [shares[i] for i in (4, 5, 6, 9)] == [0] * 4
        near(gates, sigmoids.float(), 3e-7)


TOKENISED = (
    "Is there a red star, or 12 STARS?",
    "",
    "What  colour\nis\tthe user's (A) ring: Ünï?",
    "the sign says CAT, B0X",
)


def test_text_becomes_tokens_and_text_again(engine: Page, lvlm: LVLM) -> None:
    page = """(texts) => {
        const { encode, decode } = infoflowTokens(INFOFLOW_WEIGHTS.header.tokens);
        return texts.map((text) => [encode(text), decode(encode(text))]);
    }"""
    for text, (ids, back) in zip(TOKENISED, engine.evaluate(page, list(TOKENISED)), strict=True):
        assert ids == lvlm.encode_answer(text).tolist()
        assert back == lvlm.tokenizer.decode(ids, skip_special_tokens=True).strip()


def settled(tab: Page) -> None:
    """Wait until the numbers of the newest change are there."""
    done = "({ dataset }) => dataset.job && dataset.idle === dataset.job"
    figure = tab.locator("figure.live").element_handle()
    tab.wait_for_function(done, arg=figure, polling=20, timeout=30_000)


def press(tab: Page, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)
    settled(tab)


def held_to_python(tab: Page, lvlm: LVLM, question: str) -> dict[str, Any]:
    """Hand the page's own pixels to Python: all that the page shows must come out."""
    page = tab.evaluate(PAGE)
    side = lvlm.family.pixels_a_side
    pixels = np.frombuffer(base64.b64decode(page["pixels"]), np.uint8).reshape(side, side, 3)
    prompt = lvlm.prompt(Image.fromarray(pixels), question)
    if page["edge"] == "picture":
        check_sweep(page, lvlm, prompt, MAX_NEW_TOKENS)
    with cut_edge(lvlm, page["edge"], page["block"]["first"], page["block"]["stop"]):
        answer = lvlm.generate(prompt, MAX_NEW_TOKENS)
        near(page["read"], lvlm.logits(prompt)[0, -1], LOGITS)
        near(page["shares"], attention_flow(lvlm, prompt).shares, SHARES)
        if tab.locator("[data-is=map]").input_value() == "cam":
            check_maps(page["maps"], lvlm, prompt, answer)
        else:
            assert page["maps"] == []
    assert page["said"][page["place"]] == page["answer"] == lvlm.decode(answer)
    assert tab.locator("[data-is=answer]").inner_text() == (lvlm.decode(answer) or "(nothing)")
    return page


def focused(tab: Page) -> str:
    return tab.evaluate("document.activeElement.dataset.is ?? document.activeElement.ariaLabel")


def tab_to(tab: Page, wanted: str) -> None:
    """Go on by the tab key to the control whose name begins so."""
    for _ in range(60):
        tab.keyboard.press("Tab")
        if (focused(tab) or "").startswith(wanted):
            return
    raise AssertionError(f"the tab key does not lead to {wanted}")


def test_it_is_used_by_keyboard_alone(visit: test_browser.Visit, lvlm: LVLM) -> None:
    tab = visit.tab
    assert tab.locator("script[src*=weights]").count() == 0, "loaded before it was asked for"
    while not tab.evaluate("document.activeElement.matches('.live-start')"):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    settled(tab)
    assert focused(tab) == "question"
    question = tab.locator("[data-is=question]").input_value()
    opened = held_to_python(tab, lvlm, question)
    assert opened["said"][0] != opened["said"][-1], "the scene does not show what a cut does"

    thing = tab.locator(".handles button").first.get_attribute("aria-label") or ""
    tab.keyboard.press("Shift+Tab")
    while focused(tab) != thing:
        tab.keyboard.press("Shift+Tab")
    press(tab, "ArrowDown", "ArrowDown", "Shift+ArrowLeft")
    moved = tab.locator(".handles button").first.get_attribute("aria-label")
    assert moved != thing
    assert held_to_python(tab, lvlm, question)["pixels"] != opened["pixels"]
    n_things = tab.locator(".handles button").count()
    press(tab, "Delete")
    assert tab.locator(".handles button").count() == n_things - 1
    tab_to(tab, "add-sign")
    press(tab, "Enter")
    assert focused(tab).startswith("white sign “CAT”")

    tab_to(tab, "question")
    press(tab, "Control+a")
    tab.keyboard.insert_text("What does the white sign say?")
    settled(tab)
    tab_to(tab, "edge")
    press(tab, "ArrowDown", "ArrowDown")
    tab_to(tab, "span")
    press(tab, "ArrowDown")
    tab_to(tab, "place")
    press(tab, "Home", "ArrowRight")
    page = held_to_python(tab, lvlm, "What does the white sign say?")
    assert (page["edge"], page["place"], page["block"]) == (
        "image-last",
        1,
        {"first": 0, "stop": 3},
    )
    told = tab.locator("[data-is=place]").get_attribute("aria-valuetext") or ""
    assert told.startswith("Hidden in layers 1 to 3 of 12: image → last token. Answer: ")
    assert visit.problems == []


def test_a_thing_is_dragged_and_changed(visit: test_browser.Visit, lvlm: LVLM) -> None:
    tab = visit.tab
    before = start_again(tab)
    handle = tab.locator(".handles button").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + 5, box["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(box["x"] - 10, box["y"] + 25, steps=4)
    tab.mouse.up()
    tab.locator("[data-is=colour]").select_option("yellow")
    tab.locator("[data-is=shape]").select_option("ring")
    settled(tab)
    assert (handle.get_attribute("aria-label") or "").startswith("yellow ring")
    tab.locator("[data-is=map]").select_option("cam")
    settled(tab)
    page = held_to_python(tab, lvlm, tab.locator("[data-is=question]").input_value())
    assert page["pixels"] != before["pixels"]
    cells = "[...document.querySelectorAll('.live-map i')].map((i) => Number(i.style.opacity))"
    in_layer = [tab.evaluate(cells)]
    tab.locator("[data-is=layer]").select_option(index=5)
    in_layer.append(tab.evaluate(cells))
    for shown, map_ in zip(in_layer, (page["maps"][1], page["maps"][5]), strict=True):
        assert max(shown) == pytest.approx(0.8)
        assert int(np.argmax(shown)) == int(np.argmax(map_))


def start_again(tab: Page) -> dict[str, Any]:
    tab.evaluate("document.querySelector('figure.live').live.open()")
    settled(tab)
    return tab.evaluate(PAGE)


def test_a_head_is_shown_alone(visit: test_browser.Visit, lvlm: LVLM) -> None:
    start_again(visit.tab)
    visit.tab.locator("[data-is=head]").select_option(index=3)
    rows = visit.tab.evaluate(
        """() => { const { found, attention } = document.querySelector("figure.live").live;
            return [[...found.rows[1][2]], attention(1)]; }"""
    )
    assert rows[0] == rows[1]


def test_suggestions_and_odd_input(visit: test_browser.Visit) -> None:
    tab = visit.tab
    scenes = []
    for suggestion in tab.locator(".live-try").all():
        suggestion.click()
        settled(tab)
        assert focused(tab) in ("place", "edge", "layer")  # what it speaks of
        scenes.append(tab.evaluate(PAGE)["pixels"])
    assert len(set(scenes)) == 3
    note = tab.locator("[data-is=unknown]")
    for question, message in (
        ("Is there a zebra?", "vocabulary: zebra"),
        ("Is there <image>?", "Leave out <image>"),
        ("a " * 70, "this page has room for 64"),
    ):
        tab.locator("[data-is=question]").fill(question)
        settled(tab)
        assert message in note.inner_text()
        is_refused = "vocabulary" not in message  # and the numbers of what was asked before go
        assert tab.locator("[data-is=answer]").is_visible() != is_refused
    tab.locator("[data-is=question]").fill("Is there a red star?")
    settled(tab)
    assert note.inner_text() == ""
    for _ in range(5):
        tab.locator("[data-is=add-shape]").click()
    assert "things touch" in tab.locator("[data-is=strange]").inner_text()
    settled(tab)


HOLD = """() => {
  const send = Worker.prototype.postMessage;
  const sent = (globalThis.sent = []); // what the page asks of the worker; a wish for more is held
  Worker.prototype.postMessage = function (message) {
    sent.push(message.change ? "change" : "more");
    const go = () => send.call(this, message);
    if (message.change || sent.isFree) return go();
    globalThis.release = () => {
      sent.isFree = true;
      go();
    };
  };
}"""


def test_what_is_still_to_come_is_not_shown(visit: test_browser.Visit, lvlm: LVLM) -> None:
    """The answer comes first, then the rest; a newer change goes before it."""
    tab = visit.tab
    start_again(tab)
    tab.locator("[data-is=map]").select_option("cam")
    tab.locator("[data-is=layer]").select_option(index=5)
    settled(tab)
    tab.evaluate(HOLD)
    question = "Is there a green square?"
    tab.locator("[data-is=question]").fill(question)
    tab.wait_for_function("globalThis.release !== undefined")
    first = "document.querySelector('figure.live').live.found"
    known = f"Object.keys({first}.maps).map(Number)"
    assert tab.evaluate(known) == list(range(5, lvlm.n_layers - 1))
    assert tab.evaluate(f"{first}.swept ?? null") is None
    assert tab.locator("[data-is=answer]").is_visible()
    of_older = tab.locator("[data-is=sweep] td")
    assert of_older.count()
    assert not any(cell.is_visible() for cell in of_older.all())
    tab.locator("[data-is=layer]").select_option(index=2)
    assert tab.locator("[data-is=legend]").inner_text() == "Being computed."
    cells = "[...document.querySelectorAll('.live-map i')].every((i) => i.style.opacity === '0')"
    assert tab.evaluate(cells)
    tab.locator("[data-is=place]").fill("3")
    tab.evaluate("release()")
    settled(tab)
    assert tab.evaluate("sent") == ["change", "more", "change", "more", "more", "more"]
    assert held_to_python(tab, lvlm, question)["place"] == 3
    assert all(cell.is_visible() for cell in of_older.all())


@pytest.mark.parametrize("window", [test_browser.PHONE, test_browser.DESKTOP])
def test_it_fits(visit: test_browser.Visit, window: Any) -> None:
    visit.tab.set_viewport_size(window)
    assert visit.audit("overflow") == []
    unnamed = """() => [...document.querySelectorAll("figure.live :is(button, select, input)")]
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.closest("label")))
        .map((e) => e.outerHTML)"""
    assert visit.tab.evaluate(unnamed) == []
    assert visit.problems == []


def test_without_scripts_there_is_a_still(browser: Browser, site: Path, lvlm: LVLM) -> None:
    context = browser.new_context(viewport=test_browser.PHONE, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(site.as_uri())
    world = (site.parents[1] / "_static" / "live" / "world.js").read_text("utf-8")
    scene = json.loads(re.search(r"header:(.*),base64:", world)[1])["scenes"]["pope"]  # type: ignore[index]
    index = int(scene["id"].rsplit("-", 1)[1])
    sample = shapes.sample("pope", "test", index)
    sweep = truncation_sweep(lvlm, lvlm.prompt(sample.image, sample.question), max_new_tokens=8)
    said = tab.locator("figure.live td:nth-child(2)").all_inner_texts()
    assert said == [lvlm.decode(tokens) for tokens in sweep.tokens]
    assert sample.question in tab.locator("figcaption").inner_text()
    assert lvlm.digest[:12] in tab.locator("figcaption").inner_text()
    assert tab.locator("figure.live button").count() == 0
    picture, table = (tab.locator(f"figure.live {tag}").bounding_box() for tag in ("img", "table"))
    assert picture is not None
    assert picture["width"] == pytest.approx(picture["height"])
    assert table is not None
    assert picture["width"] / 2 < table["width"] < test_browser.PHONE["width"]
    assert tab.evaluate(f"{test_browser.AUDIT.read_text('utf-8')} audit.overflow()") == []
    context.close()


def test_another_architecture_is_refused() -> None:
    with pytest.raises(InfoflowError, match="tiny-shikra: the live page runs models of LLaVA"):
        require_runnable(load_lvlm("tiny-shikra", device="cpu"))
