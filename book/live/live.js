// The live page: a scene and a question that can be changed, an edge that can be cut, and what the
// model makes of them. The model is loaded on a press; until then, and without scripts, the figure
// shows what Python computed. The engine runs in a worker, so that the page never waits for it.
"use strict";

{
  const HERE = new URL(".", document.currentScript.src).href;
  const SCRIPTS = [
    "weights.js",
    "world.js",
    "kernel.js",
    "tokens.js",
    "engine.js",
    "render.js",
    "scene.js",
    "panel.js",
  ];
  const EDGES = {
    picture: "the image, from every later token",
    "image-question": "image → question",
    "image-last": "image → last token",
    "question-last": "question → last token",
  };
  // what the suggestions of the page set, in their order; all else is as at the beginning
  const TRIES = [
    { task: "pope", edge: "picture", place: 0, focus: "place" },
    { task: "textvqa", edge: "image-last", place: 0, focus: "edge" },
    { task: "scienceqa", map: "cam", layer: 0, focus: "layer" },
  ];

  const load = (name) =>
    new Promise((done, failed) => {
      const failure = () => failed(Error(`${name} could not be loaded.`));
      document.head.append(
        Object.assign(document.createElement("script"), {
          src: HERE + name,
          onload: done,
          onerror: failure,
        }),
      );
    });
  const softmax = (row) => {
    const top = Math.max(...row),
      powers = Array.from(row, (value) => Math.exp(value - top));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  };
  const options = (select, entries) =>
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  /** Set a bar and the number beside it. */
  const measure = (cell, share) => {
    cell.firstChild.style.setProperty("--share", share);
    cell.lastChild.textContent = share.toFixed(3);
  };

  /**
   * What the worker does: of each change first what is looked at, then, part by part and only as
   * long as the page asks for more, the maps of other layers and the sweep of cuts.
   */
  function work() {
    let engine, parts, asked, swept, before;
    function* compute({ pixels, question, edge, blocks, place, layer, withMaps }) {
      const now = JSON.stringify([question, edge, blocks]);
      if (pixels || now !== before) swept = null;
      before = now;
      if (pixels) engine.look(pixels);
      if (question !== asked) engine.ask(question);
      asked = question;
      const { maps: down, ...state } = engine.read(edge, blocks[place]);
      const maps = [],
        take = (above, lowest) => {
          for (let l = above - 1; l >= lowest; l--) maps[l] = down.next().value;
        };
      if (withMaps) take(engine.layers - 1, layer);
      const answer = engine.tokens.decode(state.answer);
      yield { ...state, answer, edge, blocks, place, maps, image: engine.image, ...swept };
      if (withMaps) {
        take(layer, 0);
        yield { maps };
      }
      if (swept) return;
      const { logits, answers } = engine.sweep(edge, blocks);
      swept = { swept: logits, answers: answers.map((ids) => engine.tokens.decode(ids)) };
      yield swept;
    }
    globalThis.onmessage = async ({ data: { weights, change } }) => {
      try {
        if (weights) engine = await infoflowEngine(weights);
        if (change) parts = compute(change);
        const started = performance.now(),
          part = parts?.next().value;
        postMessage({ part, ms: performance.now() - started });
      } catch (error) {
        postMessage({ error: error.message });
      }
    };
  }

  async function start(figure, first = {}) {
    await Promise.all(SCRIPTS.map(load));
    const { header } = INFOFLOW_WEIGHTS,
      world = INFOFLOW_WORLD.header,
      render = infoflowRenderer(INFOFLOW_WORLD);
    const { layers, heads, vocabulary } = header.decoder,
      tokens = infoflowTokens(header.tokens);
    const panel = Object.assign(document.createElement("div"), {
      className: "live-panel",
      innerHTML: infoflowPanel,
    });
    panel.toggleAttribute("data-pending", true);
    const is = Object.fromEntries(
      [...panel.querySelectorAll("[data-is]")].map((element) => [element.dataset.is, element]),
    );
    const canvas = panel.querySelector("canvas"),
      cells = panel.querySelector(".live-map");
    const source = [infoflowKernel, infoflowPlainKernel, infoflowTokens, infoflowEngine].join(
      "\n",
    );
    const worker = new Worker(
      URL.createObjectURL(
        new Blob([`"use strict";\n${source}\n(${work})();`], { type: "text/javascript" }),
      ),
    );
    let noise,
      pixels,
      found = null,
      spent = [], // milliseconds, of each part of what is found
      isBusy = true,
      isWaiting = false,
      hasNewPicture = true,
      job = 0;

    for (const [group, colour] of Object.entries(world.palette))
      panel.style.setProperty(`--${group}`, colour);
    canvas.width = canvas.height = world.side;
    cells.style.setProperty("--grid", header.tower.grid);
    cells.append(
      ...Array.from({ length: header.tower.grid ** 2 }, () => document.createElement("i")),
    );
    const same = (names) => names.map((name) => [name, name]),
      numbers = (n) => Array.from({ length: n }, (_, i) => [i, i + 1]);
    // the knockout's window, as wide as 9 of 32 layers: so many on each side
    const reach = Math.max(1, Math.round(((9 / 32) * layers - 1) / 2));
    options(is.edge, Object.entries(EDGES));
    options(is.span, [
      ["rest", "all from there on"],
      ["window", `${2 * reach + 1} layers around it (knockout)`],
    ]);
    options(is.shape, same(world.shapes));
    options(is.size, same(world.sizes));
    options(is.layer, numbers(layers));
    options(is.head, [["mean", "mean of all"], ...numbers(heads)]);
    is.place.max = layers;
    is.words.innerHTML = infoflowRows.words.repeat(5);
    is.sweep.innerHTML = infoflowRows.sweep.repeat(layers + 1);
    is.shares.innerHTML = infoflowRows.shares.repeat(layers);
    [...is.sweep.rows].forEach((row, at) =>
      row.querySelector("button").addEventListener("click", () => {
        is.place.value = at;
        request();
      }),
    );

    // --- scene and question ----------------------------------------------------------------
    const board = infoflowScene(
      panel.querySelector(".live-board"),
      world,
      () => {
        const shown = new ImageData(world.side, world.side),
          strange = board.strange();
        pixels = render(board.scene, noise);
        for (let i = 0; i < pixels.length; i++) shown.data[i + Math.floor(i / 3)] = pixels[i];
        for (let i = 3; i < shown.data.length; i += 4) shown.data[i] = 255;
        canvas.getContext("2d").putImageData(shown, 0, 0);
        canvas.setAttribute(
          "aria-label",
          `The scene: ${board.things().map(board.nameOf).join(", ") || "an empty board"}`,
        );
        is.strange.textContent = strange.length
          ? `Unlike any scene of the training: ${strange.join("; ")}.`
          : "";
        hasNewPicture = true;
        request();
      },
      (thing) => {
        is.thing.hidden = !thing;
        is["thing-name"].textContent = thing ? board.nameOf(thing) : "";
        if (!thing) return;
        options(is.colour, same(Object.keys(thing.shape ? world.colours : world.sign.greys)));
        for (const name of ["colour", "shape", "size", "text"])
          if (name in thing) is[name].value = thing[name];
        for (const label of is.thing.querySelectorAll("[data-for]"))
          label.hidden = (label.dataset.for === "shape") !== "shape" in thing;
      },
    );
    for (const name of ["colour", "shape", "size"])
      is[name].addEventListener("input", () => {
        board.change({ [name]: name === "size" ? Number(is.size.value) : is[name].value });
      });
    is.text.addEventListener("input", () => {
      const text = is.text.value.toUpperCase(),
        isWord = text.length === 3 && [...text].every((letter) => letter in world.sprites);
      is.text.setCustomValidity(isWord ? "" : "A sign has three letters, A to Z.");
      if (isWord) board.change({ text });
      else is.text.reportValidity();
    });
    is.remove.addEventListener("click", board.remove);
    is["add-shape"].addEventListener("click", () =>
      board.addShape(Object.keys(world.colours)[0], world.shapes[0]),
    );
    is["add-sign"].addEventListener("click", () =>
      board.addSign(Object.keys(world.sign.greys)[0], "CAT"),
    );
    is.question.addEventListener("input", request);
    is.questions.addEventListener("input", () => {
      is.question.value = is.questions.value;
      request();
    });

    /** Begin with a task's scene and its question, and set the controls. */
    function open({
      task = figure.dataset.start,
      edge = "picture",
      place = layers,
      map = "attention",
      layer = 1,
      focus = "question",
    } = {}) {
      const given = world.scenes[task];
      noise = new Float32Array(
        Uint8Array.from(atob(given.noise), (byte) => byte.charCodeAt(0)).buffer,
      );
      const { question, questions } = given;
      const values = { edge, span: "rest", place, map, layer, head: "mean", question };
      // the menu begins with what is asked, not with the context that all share
      const asked = (text) => text.slice(text.lastIndexOf("\n", text.indexOf("?")) + 1);
      options(
        is.questions,
        questions.map((text) => [text, asked(text)]),
      );
      for (const [name, value] of Object.entries(values)) is[name].value = value;
      board.open(given);
      is[focus].focus({ preventScroll: true });
    }

    // --- asking the worker -----------------------------------------------------------------
    /** The layers cut at each place of the slider; at its end none is. */
    function blocks() {
      return Array.from({ length: layers + 1 }, (_, at) =>
        is.span.value === "rest" || at === layers
          ? { first: at, stop: layers }
          : { first: Math.max(at - reach, 0), stop: Math.min(at + reach + 1, layers) },
      );
    }
    function request() {
      is.question.rows = is.question.value.split("\n").length + 1; // a line may be broken
      const strange = tokens.strange(is.question.value);
      is.unknown.textContent = strange.length
        ? `Not in the model’s vocabulary: ${strange.join(", ")}`
        : "";
      isWaiting = true;
      if (!isBusy) send();
    }
    function send() {
      [isBusy, isWaiting] = [true, false];
      figure.dataset.job = ++job;
      worker.postMessage({
        change: {
          pixels: hasNewPicture ? pixels : null,
          question: is.question.value,
          edge: is.edge.value,
          blocks: blocks(),
          place: Number(is.place.value),
          layer: Number(is.layer.value),
          withMaps: is.map.value === "cam", // a backward pass only where it is shown
        },
      });
      hasNewPicture = false;
    }
    worker.onmessage = ({ data: { part, ms, error } }) => {
      if (error) hasNewPicture = true; // it may not have been taken in
      if (isWaiting) send(); // and what is left of the older change is dropped
      else if (part) worker.postMessage({}); // the next part
      else isBusy = false;
      if (part) show(part, ms);
      else if (error && !isBusy) fail(error);
      if (!isBusy && job) figure.dataset.idle = job;
    };
    for (const name of ["edge", "span", "place", "map"])
      is[name].addEventListener("input", request);
    for (const name of ["layer", "head"]) is[name].addEventListener("input", showInside);

    // --- showing ---------------------------------------------------------------------------
    const inWords = ({ first, stop }) =>
      first >= stop ? "none" : stop - first === 1 ? `${stop}` : `${first + 1} to ${stop}`;
    /** Attention of the prompt's last token in a layer, of the chosen head or the mean of all. */
    function attention(layer) {
      const rows = found.rows[layer],
        of = is.head.value === "mean" ? rows : [rows[Number(is.head.value)]];
      return Array.from(rows[0], (_, i) => of.reduce((sum, each) => sum + each[i], 0) / of.length);
    }
    function shares(layer) {
      const sum = (values) => values.reduce((a, b) => a + b, 0),
        values = attention(layer),
        [from, to] = found.image;
      return [sum(values.slice(0, from)), sum(values.slice(from, to)), sum(values.slice(to))];
    }
    function show(part, ms) {
      const isChange = "rows" in part; // else what was still to come of the last one
      found = isChange ? part : { ...found, ...part };
      spent = isChange ? [ms] : [...spent, ms];
      if (isChange) {
        showAnswer();
        showWords();
        showShares();
      }
      showMap();
      showSweep();
      const [first, all] = [spent[0], spent.reduce((a, b) => a + b)].map(Math.round);
      is.cost.textContent =
        `${header.name}, ${header.parameters.toLocaleString("en")} parameters, ` +
        `weights ${header.digest.slice(0, 12)}, in your browser: ` +
        `the answer to the last change after ${first} ms, all of it after ${all} ms.`;
    }
    /** Say what is wrong, and show no numbers: they would be those of an earlier state. */
    function fail(error) {
      found = null;
      panel.toggleAttribute("data-pending", true);
      is.place.removeAttribute("aria-valuetext");
      is.unknown.textContent = error;
    }
    function showAnswer() {
      const { place, edge } = found,
        answer = found.answer || "(nothing)",
        cut = inWords(found.blocks[place]);
      is.told.textContent =
        cut === "none"
          ? "Nothing is hidden: the model as it is."
          : `Hidden in layer${cut.includes("to") ? "s" : ""} ${cut} of ${layers}: ${EDGES[edge]}.`;
      is.place.setAttribute("aria-valuetext", `${is.told.textContent} Answer: ${answer}`);
      is.answer.value = answer;
      panel.toggleAttribute("data-pending", false);
    }
    function showInside() {
      if (!found) return;
      showShares();
      showMap();
    }
    function showWords() {
      const ranked = softmax(found.logits)
        .map((share, id) => [share, id])
        .sort((a, b) => b[0] - a[0]);
      [...is.words.rows].forEach(({ cells: [word, cell] }, i) => {
        const [share, id] = ranked[i];
        word.textContent = header.tokens.vocabulary[id];
        measure(cell, share);
      });
    }
    /** The table of cuts; hidden until the numbers of this state are there. */
    function showSweep() {
      const { blocks, place, swept, answers } = found;
      is.sweep.toggleAttribute("data-pending", !swept);
      const uncut = swept?.at(-1),
        word = uncut?.indexOf(Math.max(...uncut));
      [...is.sweep.rows].forEach(({ cells: [cut, answer, cell] }, at) => {
        const press = cut.firstChild;
        press.textContent = inWords(blocks[at]);
        press.setAttribute("aria-pressed", at === place);
        if (!swept) return;
        answer.textContent = answers[at] || "(nothing)";
        measure(cell, softmax(swept[at])[word]);
      });
    }
    function showShares() {
      [...is.shares.rows].forEach((row, layer) => {
        const [name, strip, numbers] = row.cells,
          parts = shares(layer);
        name.textContent = layer + 1;
        [...strip.firstChild.children].forEach((bar, i) =>
          bar.style.setProperty("--share", parts[i]),
        );
        numbers.textContent = parts.map((share) => `${Math.round(100 * share)} %`).join(" · ");
        row.classList.toggle("shown", layer === Number(is.layer.value));
      });
    }
    function showMap() {
      const kind = is.map.value,
        layer = Number(is.layer.value),
        isCam = kind === "cam";
      const map =
        kind === "none"
          ? null
          : isCam
            ? found.maps[layer]
            : attention(layer).slice(...found.image);
      const peak = map ? Math.max(...map) : 0;
      [...cells.children].forEach((cell, i) => {
        cell.style.opacity = peak ? (0.8 * map[i]) / peak : 0;
      });
      is.head.disabled = isCam;
      const empty = !isCam
        ? "The map is empty: from here on nothing of the image is read."
        : !found.answer
          ? "There is no answer to make a map of."
          : layer === layers - 1
            ? "Undefined: behind the last layer’s attention no token reads the image any more."
            : map
              ? "The map is empty: nothing in the image speaks for the answer here."
              : "Being computed.";
      const says = isCam
        ? `What the answer hangs on in layer ${layer + 1}: the darker a patch, the more.`
        : `Where the last token looks in layer ${layer + 1}: ` +
          `the darkest patch has ${(100 * peak).toFixed(1)} % of its attention.`;
      is.legend.textContent = kind === "none" ? "" : peak ? says : empty;
    }

    figure.querySelector(".live-still").replaceWith(panel);
    open(first);
    figure.live = {
      open,
      get found() {
        return found;
      },
      get pixels() {
        return pixels;
      },
      attention,
      shares,
    };
    const bytes = Uint8Array.from(atob(INFOFLOW_WEIGHTS.base64), (byte) => byte.charCodeAt(0));
    INFOFLOW_WEIGHTS.base64 = ""; // megabytes that are not needed twice
    worker.postMessage({ weights: { header, bytes } }, [bytes.buffer]);
  }

  /** Put the buttons in place: one that loads the model, and one at each suggestion. */
  function prepare(figure) {
    const button = Object.assign(document.createElement("button"), {
      type: "button",
      className: "live-start",
      textContent: `Load the model (${figure.dataset.size}) and try it`,
    });
    const told = Object.assign(document.createElement("p"), { className: "live-note" });
    told.setAttribute("role", "status");
    const begin = async (first) => {
      figure.scrollIntoView({ block: "start" });
      if (figure.live) return figure.live.open(first);
      if (button.disabled) return; // it is loading
      button.disabled = true;
      told.textContent = "Loading the model …";
      try {
        await start(figure, first);
        button.remove();
        told.textContent = "";
        figure.querySelector("figcaption").hidden = true; // it speaks of the still
      } catch (error) {
        button.disabled = false;
        told.textContent = error.message;
      }
    };
    button.addEventListener("click", () => begin({}));
    document.querySelectorAll("#try-this-first li").forEach((item, i) => {
      const press = Object.assign(document.createElement("button"), {
        type: "button",
        className: "live-try",
        textContent: "Try this",
      });
      press.setAttribute("aria-label", `Try this: ${item.querySelector("strong").textContent}`);
      press.addEventListener("click", () => begin(TRIES[i]));
      item.append(" ", press);
    });
    figure.prepend(button, told);
  }
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("figure.live").forEach(prepare),
  );
}
