// The model in the browser: vision tower, connector, decoder, its answers with an edge cut, and the
// backward pass of LLaVA-CAM. Everything is float32 in one block of memory; a place in it is
// counted in floats. Layers are counted from 0, and a block of layers is first <= layer < stop.
"use strict";

/**
 * @param weights what export.py writes: a header and the bytes of all matrices in float16
 * @param plain whether to do without WebAssembly
 */
async function infoflowEngine({ header, bytes }, plain = false) {
  const { decoder, tower, connector, ends, newTokens } = header;
  const { width: D, heads: H, layers: L, mlp: MLP, vocabulary: V } = decoder;
  const d = D / H,
    SCALE = 1 / Math.sqrt(d),
    PANEL = 8;
  const QUESTION = 64; // room for the text behind the picture, in tokens
  const full = (n) => Math.ceil(n / PANEL) * PANEL;

  const tokens = infoflowTokens(header.tokens);
  const [before, after] = header.template.split(header.placeholder);
  const prefix = [...header.beginning, ...tokens.encode(before)];
  const patches = tower.grid ** 2;
  const P = prefix.length,
    U = P + patches; // the first image token, the first of the text behind it
  const MAX = full(U + QUESTION + newTokens),
    CUTS = L + 1,
    ROWS = CUTS * QUESTION;
  let S = U; // tokens of the prompt
  let intact = 0; // how many layers hold the rows behind the picture as the uncut model reads them
  let blind = null; // what is said where no layer sees the picture: of the question alone

  // --- places in memory ------------------------------------------------------------------------
  let used = 16;
  const room = (n) => {
    const at = used;
    used += (n + 15) & ~15;
    return at;
  };
  const weightsAt = room(bytes.length / 2 + 16 * PANEL);
  const W = Object.fromEntries(
    Object.entries(header.tensors).map(([name, at]) => [name, weightsAt + at]),
  );
  const layers = Array.from({ length: L }, (_, l) => ({
    w: Object.fromEntries(
      ["qkv", "o", "gateUp", "down", "norm1", "norm2"].map((name) => [
        name,
        W[`layer${l}.${name}`],
      ]),
    ),
    // of the prompt and its answer, a row a position: the layer's input, what its norms and its
    // attention's projections give, attention weights (H, MAX, MAX), keys as columns (H, d, MAX)
    x: room(MAX * D),
    normed1: room(MAX * D),
    qkv: room(MAX * 3 * D),
    p: room(H * MAX * MAX),
    keys: room(D * MAX),
    mid: room(MAX * D),
    normed2: room(MAX * D),
    gateUp: room(MAX * 2 * MLP),
    // queries, keys and values of branches, and of the tokens that they generate
    branch: room(ROWS * 3 * D),
    generated: room(CUTS * newTokens * 3 * D),
    // the weights the other way round, for the backward pass
    back: { qkv: room(3 * D * D), o: room(D * D), gateUp: room(2 * MLP * D), down: room(MLP * D) },
  }));
  const last = room(MAX * D); // output of the last layer
  const most = Math.max(ROWS, MAX);
  const temporary = {
    x: room(most * D),
    normed: room(most * D),
    heads: room(most * D),
    qkv: room(CUTS * 3 * D),
    gateUp: room(most * 2 * MLP),
    act: room(most * MLP),
    p: room(most * (MAX + newTokens + PANEL)),
    keys: room(D * full(QUESTION)),
  };
  const logitsAt = room(CUTS * full(V)),
    headRows = room(CUTS * D);
  const gradient = {
    x: room(MAX * D),
    normed: room(MAX * D),
    heads: room(MAX * D),
    gateUp: room(MAX * 2 * MLP),
    act: room(MAX * MLP),
    qkv: room(MAX * 3 * D),
    p: room(MAX * MAX),
    values: room(D * MAX),
  };
  const seen = patches + 1,
    TD = tower.width,
    TM = tower.mlp,
    td = TD / tower.heads,
    pixelsIn = 3 * tower.patch ** 2;
  const eye = {
    pixels: room(patches * pixelsIn),
    x: room(seen * TD),
    normed: room(seen * TD),
    qkv: room(full(seen) * 3 * TD),
    keys: room(td * full(seen)),
    p: room(seen * full(seen)),
    heads: room(seen * TD),
    mlp: room(seen * TM),
    gates: room(seen * TM),
    out: room(patches * D),
  };

  const { F, product, softmax, sigmoid } = await prepare();
  unpack();
  layers.forEach(turnWeights);
  const { cos, sin } = rotation();
  embed(prefix, 0);
  decode(0, P);
  return {
    look,
    ask,
    read,
    sweep,
    tokens,
    layers: L,
    heads: H,
    image: [P, U],
    get length() {
      return S;
    },
    get embeddings() {
      return F.slice(layers[0].x, layers[0].x + S * D);
    },
  };

  async function prepare() {
    const pages = Math.ceil((used * 4) / 65536);
    if (!plain)
      try {
        const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
        const kernel = [infoflowKernel(true), infoflowKernel(false)].find(WebAssembly.validate);
        const { instance } = await WebAssembly.instantiate(kernel, { env: { memory } });
        return { F: new Float32Array(memory.buffer), ...instance.exports };
      } catch {
        /* no WebAssembly, or none with vectors */
      }
    const floats = new Float32Array(pages * 16384);
    return { F: floats, ...infoflowPlainKernel(floats) };
  }
  /** float16 to float32, by a table of all 65536. */
  function unpack() {
    const half = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    const wide = Float32Array.from({ length: 65536 }, (_, h) => {
      const exponent = (h >> 10) & 31,
        fraction = h & 1023,
        sign = h >> 15 ? -1 : 1;
      return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24);
    });
    for (let i = 0; i < half.length; i++) F[weightsAt + i] = wide[half[i]];
  }
  function turnWeights({ w, back }) {
    for (const [name, inputs, outputs] of [
      ["qkv", D, 3 * D],
      ["o", D, D],
      ["gateUp", D, 2 * MLP],
      ["down", MLP, D],
    ])
      for (let i = 0; i < inputs; i++)
        for (let j = 0; j < outputs; j++)
          F[back[name] + (i >> 3) * outputs * PANEL + j * PANEL + (i & 7)] =
            F[w[name] + (j >> 3) * inputs * PANEL + i * PANEL + (j & 7)];
  }
  function rotation() {
    const half = d / 2,
      cos = new Float32Array(MAX * half),
      sin = new Float32Array(MAX * half);
    for (let position = 0; position < MAX; position++)
      for (let i = 0; i < half; i++) {
        const angle = position * Math.fround(1 / decoder.theta ** (i / half));
        cos[position * half + i] = Math.cos(angle);
        sin[position * half + i] = Math.sin(angle);
      }
    return { cos, sin };
  }

  // --- parts of a layer ------------------------------------------------------------------------
  /**
   * x (rows, inputs) times a weight matrix to y (rows, outputs); added to what is in y, if so. Long
   * sums are summed in parts, which rounds less.
   */
  function linear(x, weight, y, rows, inputs, outputs, add = 0) {
    for (let from = 0; from < inputs; from += 64, add = 1)
      product(
        x + from,
        inputs,
        1,
        weight + from * PANEL,
        PANEL,
        PANEL * inputs,
        y,
        outputs,
        rows,
        Math.min(64, inputs - from),
        full(outputs),
        add,
      );
  }
  function addBias(x, bias, rows, width) {
    for (let r = 0; r < rows; r++, x += width)
      for (let i = 0; i < width; i++) F[x + i] += F[bias + i];
  }
  function embed(ids, position) {
    ids.forEach((id, i) =>
      F.copyWithin(layers[0].x + (position + i) * D, W.words + id * D, W.words + (id + 1) * D),
    );
  }
  function rmsScale(x) {
    let sum = 0;
    for (let i = 0; i < D; i++) sum += F[x + i] * F[x + i];
    return 1 / Math.sqrt(sum / D + decoder.epsilon);
  }
  function rmsNorm(x, weight, y, rows) {
    for (let r = 0; r < rows; r++, x += D, y += D) {
      const scale = rmsScale(x);
      for (let i = 0; i < D; i++) F[y + i] = F[x + i] * scale * F[weight + i];
    }
  }
  /** Turn a row's queries and keys to their position; the other way round with sign -1. */
  function rotate(row, position, sign = 1) {
    const half = d / 2,
      angles = position * half;
    for (let h = 0; h < 2 * H; h++)
      for (let i = 0; i < half; i++) {
        const at = row + h * d + i,
          c = cos[angles + i],
          s = sign * sin[angles + i],
          u = F[at],
          v = F[at + half];
        F[at] = u * c - v * s;
        F[at + half] = v * c + u * s;
      }
  }
  /** Softmax over the spans [from, to, from, to, ...] of a row of scores; all else becomes 0. */
  function attend(row, spans, width, scale = SCALE) {
    let done = 0;
    for (let s = 0; s < spans.length; s += 2) {
      if (spans[s] > done) F.fill(-Infinity, row + done, row + spans[s]);
      done = spans[s + 1];
    }
    F.fill(-Infinity, row + done, row + width);
    softmax(row, width, scale);
  }
  /** Rows (n, width) to columns (width, stride), beside those that are there. */
  function toColumns(rows, rowStride, columns, stride, n, first, width = D) {
    for (let r = 0; r < n; r++)
      for (let i = 0; i < width; i++)
        F[columns + i * stride + first + r] = F[rows + r * rowStride + i];
  }
  /** What follows attention: its output projection and the MLP, both added to x (rows, D). */
  function finish(
    { w },
    heads,
    x,
    y,
    rows,
    mid = x,
    normed = temporary.normed,
    gateUp = temporary.gateUp,
  ) {
    linear(heads, w.o, mid, rows, D, D, 1);
    rmsNorm(mid, w.norm2, normed, rows);
    linear(normed, w.gateUp, gateUp, rows, D, 2 * MLP);
    for (let r = 0, g = gateUp, to = temporary.act; r < rows; r++, g += 2 * MLP, to += MLP) {
      sigmoid(g, to, MLP, 1);
      for (let i = 0; i < MLP; i++) F[to + i] *= F[g + i] * F[g + MLP + i];
    }
    if (y !== mid) F.copyWithin(y, mid, mid + rows * D);
    linear(temporary.act, w.down, y, rows, MLP, D, 1);
  }
  /** Logits (n, V) of rows of the last layer's output. */
  function head(rows) {
    rows.forEach((row, r) => rmsNorm(row, W.norm, headRows + r * D, 1));
    linear(headRows, W.head, logitsAt, rows.length, D, full(V));
    return rows.map((_, r) => F.slice(logitsAt + r * full(V), logitsAt + r * full(V) + V));
  }

  // --- the picture -----------------------------------------------------------------------------
  /** Take in a picture: bytes (side, side, 3). */
  function look(pixels) {
    const { grid, patch } = tower,
      side = grid * patch;
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++)
        for (let c = 0; c < 3; c++) {
          const cell = Math.floor(y / patch) * grid + Math.floor(x / patch);
          const value = Math.fround(pixels[(y * side + x) * 3 + c] * tower.rescale);
          F[eye.pixels + cell * pixelsIn + (c * patch + (y % patch)) * patch + (x % patch)] =
            (value - tower.mean[c]) / tower.std[c];
        }
    F.copyWithin(eye.x, W["tower.class"], W["tower.class"] + TD);
    linear(eye.pixels, W["tower.patches"], eye.x + TD, patches, pixelsIn, TD);
    for (let i = 0; i < seen * TD; i++) F[eye.x + i] += F[W["tower.places"] + i];
    layerNorm(eye.x, "tower.norm", eye.x);
    for (let l = 0; l < tower.layers; l++) towerLayer(`tower${l}.`);
    connect();
    decode(P, U);
    intact = 0;
  }
  function towerLayer(name) {
    const { x, normed, qkv, keys, p, heads, mlp, gates } = eye,
      affine = (from, part, to, inputs, outputs, add = 0) => {
        linear(from, W[name + part], to, seen, inputs, outputs, add);
        addBias(to, W[`${name}${part}.bias`], seen, outputs);
      };
    layerNorm(x, name + "norm1", normed);
    affine(normed, "qkv", qkv, TD, 3 * TD);
    for (let h = 0; h < tower.heads; h++) {
      toColumns(qkv + TD + h * td, 3 * TD, keys, full(seen), seen, 0, td);
      product(
        qkv + h * td,
        3 * TD,
        1,
        keys,
        full(seen),
        PANEL,
        p,
        full(seen),
        seen,
        td,
        full(seen),
        0,
      );
      for (let r = 0; r < seen; r++)
        attend(p + r * full(seen), [0, seen], full(seen), 1 / Math.sqrt(td));
      product(
        p,
        full(seen),
        1,
        qkv + 2 * TD + h * td,
        3 * TD,
        PANEL,
        heads + h * td,
        TD,
        seen,
        seen,
        td,
        0,
      );
    }
    affine(heads, "o", x, TD, TD, 1);
    layerNorm(x, name + "norm2", normed);
    affine(normed, "mlp1", mlp, TD, TM);
    sigmoid(mlp, gates, seen * TM, 1.702); // of the quick GELU
    for (let i = 0; i < seen * TM; i++) F[mlp + i] *= F[gates + i];
    affine(mlp, "mlp2", x, TM, TD, 1);
  }
  function layerNorm(from, name, to) {
    const weight = W[name],
      bias = W[`${name}.bias`];
    for (let r = 0; r < seen; r++) {
      const x = from + r * TD,
        y = to + r * TD;
      let mean = 0,
        variance = 0;
      for (let i = 0; i < TD; i++) mean += F[x + i] / TD;
      for (let i = 0; i < TD; i++) variance += (F[x + i] - mean) ** 2 / TD;
      const scale = 1 / Math.sqrt(variance + tower.epsilon);
      for (let i = 0; i < TD; i++)
        F[y + i] = (F[x + i] - mean) * scale * F[weight + i] + F[bias + i];
    }
  }
  /** The connector: patches of the tower to image tokens, in their places before the question. */
  function connect() {
    let from = eye.x + TD,
      inputs = TD; // without the class token
    for (let i = 1; i <= connector; i++) {
      const to = i < connector ? eye.out : layers[0].x + P * D;
      linear(from, W[`connector${i}`], to, patches, inputs, D);
      addBias(to, W[`connector${i}.bias`], patches, D);
      if (i < connector)
        for (let j = to; j < to + patches * D; j++) F[j] *= 0.5 * (1 + erf(F[j] / Math.SQRT2));
      [from, inputs] = [to, D];
    }
  }
  function erf(x) {
    const z = Math.abs(x);
    if (z > 5) return Math.sign(x);
    let term = z,
      sum = z;
    for (let n = 1; term > 1e-12 * sum; n++) sum += term *= (2 * z * z) / (2 * n + 1);
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * sum;
  }

  // --- the prompt ------------------------------------------------------------------------------
  /**
   * The keys [from, to) that an edge hides from a row behind the picture. "picture" hides the image
   * from all of them. Else a row is "last" if the answer is read from it, that is the prompt's last
   * and those of the answer's own tokens, or part of the question.
   */
  function hidden(edge, isLast) {
    if (edge === "picture" || edge === (isLast ? "image-last" : "image-question")) return [P, U];
    return isLast && edge === "question-last" ? [U, S - 1] : [0, 0];
  }
  function isCut({ first, stop }, l) {
    return first <= l && l < stop;
  }

  /**
   * Run rows [from, to) after those before them, with an edge cut in a block of layers, from the
   * layer `begin` on. Of the last layer's output only the rows that are read, the prompt's last and
   * those behind it, are computed.
   */
  function decode(from, to, edge = "", block = { first: L, stop: L }, begin = 0) {
    const { heads } = temporary;
    for (let l = begin; l < L; l++) {
      const { w, x, normed1, qkv, p, keys, mid, normed2, gateUp } = layers[l],
        all = from * 3 * D;
      rmsNorm(x + from * D, w.norm1, normed1 + from * D, to - from);
      linear(normed1 + from * D, w.qkv, qkv + all, to - from, D, 3 * D);
      for (let r = from; r < to; r++) rotate(qkv + r * 3 * D, r);
      toColumns(qkv + all + D, 3 * D, keys, MAX, to - from, from);
      const isLast = l + 1 === L,
        next = isLast ? last : layers[l + 1].x,
        start = isLast ? Math.min(Math.max(from, S - 1), to) : from,
        n = to - start,
        queries = qkv + start * 3 * D;
      for (let h = 0; h < H; h++) {
        const rows = p + (h * MAX + start) * MAX,
          values = qkv + 2 * D + h * d;
        product(
          queries + h * d,
          3 * D,
          1,
          keys + h * d * MAX,
          MAX,
          PANEL,
          rows,
          MAX,
          n,
          d,
          full(to),
          0,
        );
        for (let r = start; r < to; r++) {
          const [a, b] = isCut(block, l) ? hidden(edge, r >= S - 1) : [0, 0];
          attend(p + (h * MAX + r) * MAX, [0, a, b, r + 1], full(to));
        }
        product(rows, MAX, 1, values, 3 * D, PANEL, heads + h * d, D, n, to, d, 0);
      }
      F.copyWithin(mid + start * D, x + start * D, x + to * D);
      finish(
        layers[l],
        heads,
        x,
        next + start * D,
        n,
        mid + start * D,
        normed2 + start * D,
        gateUp + start * 2 * MLP,
      );
    }
  }
  /** Take in a question; returns the number of tokens of the prompt. */
  function ask(question) {
    const ids = tokens.encode(after.replace("{question}", () => question));
    if (ids.length > QUESTION)
      throw Error(`The question has ${ids.length} tokens; this page has room for ${QUESTION}.`);
    S = U + ids.length;
    embed(ids, U);
    intact = 0;
    blind = null;
    return S;
  }

  // --- an edge cut in many blocks of layers, each beside the intact prompt ----------------------
  // A branch recomputes only the rows that cutting the edge can change: those behind the picture,
  // or the last one. It starts from the intact rows before its first layer. All branches go
  // through a layer together.

  /** The first token's logits and the greedy answer under each block; blocks ascend. */
  function sweep(edge, blocks) {
    const [{ first, stop }, ...others] = blocks;
    if (edge !== "picture" || first > 0 || stop < L) return branches(edge, blocks);
    const { logits, answers } = branches(edge, blind ? others : blocks);
    blind ??= [logits.shift(), answers.shift()];
    return { logits: [blind[0], ...logits], answers: [blind[1], ...answers] };
  }
  function branches(edge, blocks) {
    decode(U, S, "", undefined, intact);
    intact = L;
    const start = edge.endsWith("-last") ? S - 1 : U,
      n = S - start;
    const shared = full(start),
      own = full(n),
      width = shared + own;
    const { x, normed, heads, p, keys } = temporary,
      stride = 3 * D;
    let begun = 0;
    layers.forEach((layer, l) => {
      const { w, qkv, branch } = layer,
        older = begun * n; // rows
      for (; blocks[begun]?.first === l; begun++) {
        F.copyWithin(x + begun * n * D, layer.x + start * D, layer.x + S * D);
        F.copyWithin(branch + begun * n * stride, qkv + start * stride, qkv + S * stride);
      }
      if (!begun) return;
      rmsNorm(x, w.norm1, normed, older);
      linear(normed, w.qkv, branch, older, D, stride);
      for (let r = 0; r < older; r++) rotate(branch + r * stride, start + (r % n));
      // rows of a branch that go on; in the last layer only its last
      const isLast = l + 1 === L,
        m = isLast ? 1 : n,
        skipped = n - m,
        rows = begun * m,
        queries = branch + skipped * stride;
      for (let h = 0; h < H; h++) {
        const values = 2 * D + h * d;
        product(
          queries + h * d,
          isLast ? n * stride : stride,
          1,
          layer.keys + h * d * MAX,
          MAX,
          PANEL,
          p,
          width,
          rows,
          d,
          shared,
          0,
        );
        for (let i = 0; i < begun; i++) {
          toColumns(branch + i * n * stride + D + h * d, stride, keys, own, n, 0, d);
          product(
            queries + i * n * stride + h * d,
            stride,
            1,
            keys,
            own,
            PANEL,
            p + i * m * width + shared,
            width,
            m,
            d,
            own,
            0,
          );
          for (let r = skipped; r < n; r++) {
            const [a, b] = isCut(blocks[i], l) ? hidden(edge, r === n - 1) : [0, 0],
              row = p + (i * m + r - skipped) * width;
            attend(row, [0, a, b, start, shared, shared + r + 1], width);
          }
        }
        product(p, width, 1, qkv + values, stride, PANEL, heads + h * d, D, rows, start, d, 0);
        for (let i = 0; i < begun; i++)
          product(
            p + i * m * width + shared,
            width,
            1,
            branch + i * n * stride + values,
            stride,
            PANEL,
            heads + i * m * D + h * d,
            D,
            m,
            n,
            d,
            1,
          );
      }
      for (let i = 0; isLast && i < begun; i++)
        F.copyWithin(x + i * D, x + ((i + 1) * n - 1) * D, x + (i + 1) * n * D);
      finish(layer, heads, x, x, rows);
    });
    const ended = blocks.map((_, i) => (i < begun ? x + i * D : last + (S - 1) * D));
    const logits = head(ended);
    return { logits, answers: generate(edge, blocks, logits, start) };
  }
  function best(row) {
    return row.reduce((top, value, id) => (value > row[top] ? id : top), 0);
  }

  /** Greedy answers of all branches, a token of each at a time, without the end token. */
  function generate(edge, blocks, first, start) {
    const said = first.map((row) => [best(row)]),
      ended = (i) => ends.includes(said[i].at(-1));
    for (let step = 1; step < newTokens; step++) {
      const going = said.map((_, i) => i).filter((i) => !ended(i));
      if (!going.length) break;
      going.forEach((i, r) => {
        const word = W.words + said[i].at(-1) * D;
        F.copyWithin(temporary.x + r * D, word, word + D);
      });
      layers.forEach((layer, l) => generateLayer(layer, l, edge, blocks, going, step, start));
      head(going.map((_, r) => temporary.x + r * D)).forEach((row, r) =>
        said[going[r]].push(best(row)),
      );
    }
    return said.map((ids, i) => (ended(i) ? ids.slice(0, -1) : ids));
  }
  function generateLayer(layer, l, edge, blocks, going, step, start) {
    const { x, normed, heads, qkv: rows, p } = temporary,
      { w, qkv, keys, branch, generated } = layer;
    const width = full(MAX + newTokens),
      n = S - start,
      stride = 3 * D;
    rmsNorm(x, w.norm1, normed, going.length);
    linear(normed, w.qkv, rows, going.length, D, stride);
    going.forEach((i, r) => {
      rotate(rows + r * stride, S + step - 1);
      F.copyWithin(
        generated + (i * newTokens + step - 1) * stride,
        rows + r * stride,
        rows + (r + 1) * stride,
      );
    });
    for (let h = 0; h < H; h++) {
      const value = 2 * D + h * d;
      product(
        rows + h * d,
        stride,
        1,
        keys + h * d * MAX,
        MAX,
        PANEL,
        p,
        width,
        going.length,
        d,
        full(S),
        0,
      );
      going.forEach((i, r) => {
        const row = p + r * width,
          query = rows + r * stride + h * d,
          newer = generated + i * newTokens * stride;
        const own = branch + i * n * stride,
          hasBegun = blocks[i].first <= l;
        if (hasBegun) dots(query, own + D + h * d, n, row + start);
        dots(query, newer + D + h * d, step, row + S);
        const [a, b] = isCut(blocks[i], l) ? hidden(edge, true) : [0, 0];
        attend(row, [0, a, b, S + step], full(S + step));
        const output = heads + r * D + h * d,
          values = (hasBegun ? own : qkv + start * stride) + value;
        product(row + start, width, 1, values, stride, PANEL, output, D, 1, n, d, 0);
        product(row + S, width, 1, newer + value, stride, PANEL, output, D, 1, step, d, 1);
      });
      product(p, width, 1, qkv + value, stride, PANEL, heads + h * d, D, going.length, start, d, 1);
    }
    finish(layer, heads, x, x, going.length);
  }
  function dots(query, keys, n, to) {
    for (let j = 0; j < n; j++, keys += 3 * D) {
      let sum = 0;
      for (let i = 0; i < d; i++) sum += F[query + i] * F[keys + i];
      F[to + j] = sum;
    }
  }

  // --- one state, looked into --------------------------------------------------------------------
  /**
   * Run the prompt and its greedy answer with an edge cut in a block of layers. Returns the first
   * token's logits; the answer without the end token; the attention of the prompt's last token,
   * (L, H, S); and LLaVA-CAM, layer by layer: what maps() yields, until the next call of anything.
   */
  function read(edge, block) {
    const uncut = block.first < block.stop ? block.first : L, // so many layers
      answer = [];
    let logits;
    decode(U, S, edge, block, Math.min(uncut, intact));
    intact = uncut;
    for (let row = S - 1; answer.length < newTokens; row++) {
      const [scores] = head([last + row * D]),
        token = best(scores);
      logits ??= scores;
      if (ends.includes(token)) break;
      answer.push(token);
      embed([token], row + 1);
      decode(row + 1, row + 2, edge, block);
    }
    const rows = layers.map(({ p }) =>
      Array.from({ length: H }, (_, h) => {
        const row = p + (h * MAX + S - 1) * MAX;
        return F.slice(row, row + S);
      }),
    );
    return { logits, answer, rows, maps: maps(answer) };
  }
  /**
   * The answer's logits, summed, differentiated by the image's features, of the clean picture, at
   * post_attention_layernorm: a map (patches,) a layer, from the last but one down to the first.
   * Behind the last layer's attention a map is undefined; without an answer all are.
   */
  function* maps(answer) {
    if (!answer.length) return;
    const end = S + answer.length - 1,
      { x, normed } = gradient; // a row a position; only those from the picture on carry gradients
    F.fill(0, x + P * D, x + end * D);
    answer.forEach((id, t) => {
      for (let i = 0; i < D; i++)
        F[normed + i] = F[W.head + (id >> 3) * D * PANEL + i * PANEL + (id & 7)];
      rmsBackward(last + (S - 1 + t) * D, W.norm, normed, x + (S - 1 + t) * D, 1);
    });
    for (let l = L - 1; l >= 0; l--) {
      const first = l + 1 === L ? S - 1 : P, // of the last layer's output few rows are read
        stop = l ? end : U, // and below the first layer nothing is asked for
        from = first * D;
      mlpBackward(layers[l], first, stop);
      if (l < L - 1) yield weighted(layers[l].normed2 + P * D, normed + P * D);
      if (l === 0) return;
      rmsBackward(layers[l].mid + from, layers[l].w.norm2, normed + from, x + from, end - first);
      attentionBackward(layers[l], first, end);
      rmsBackward(layers[l].x + P * D, layers[l].w.norm1, normed + P * D, x + P * D, end - P);
    }
  }
  /** From the gradient of a layer's output to that of the MLP's input, gradient.normed. */
  function mlpBackward({ back, gateUp }, first, end) {
    const { x, normed, act } = gradient,
      rows = end - first;
    linear(x + first * D, back.down, act, rows, D, MLP);
    for (let r = 0; r < rows; r++) {
      const g = gateUp + (first + r) * 2 * MLP,
        to = gradient.gateUp + r * 2 * MLP;
      sigmoid(g, to, MLP, 1);
      for (let i = 0; i < MLP; i++) {
        const s = F[to + i],
          dy = F[act + r * MLP + i] * s;
        F[to + i] = dy * F[g + MLP + i] * (1 + F[g + i] * (1 - s));
        F[to + MLP + i] = dy * F[g + i];
      }
    }
    linear(gradient.gateUp, back.gateUp, normed + first * D, rows, 2 * MLP, D);
  }
  /**
   * The same for attention, from the rows from `first` on to those from the picture on. Hidden keys
   * need no mask: with weights of 0, their gradient is 0.
   */
  function attentionBackward({ back, qkv, p }, first, end) {
    const { x, normed, heads, values } = gradient,
      stride = 3 * D,
      n = end - first,
      rows = end - P;
    linear(x + first * D, back.o, heads, n, D, D);
    toColumns(qkv + 2 * D, stride, values, MAX, end, 0);
    F.fill(0, gradient.qkv + P * stride, gradient.qkv + first * stride);
    for (let h = 0; h < H; h++) {
      const weights = p + (h * MAX + first) * MAX,
        dOut = heads + h * d,
        q = h * d,
        k = q + D,
        v = k + D,
        dP = gradient.p;
      product(dOut, D, 1, values + h * d * MAX, MAX, PANEL, dP, MAX, n, d, full(end), 0);
      toGradient(weights + P, 1, MAX, dOut, D, P, v, rows, n);
      for (let r = 0; r < n; r++) {
        const row = weights + r * MAX,
          dRow = dP + r * MAX;
        let sum = 0;
        for (let j = 0; j < end; j++) sum += F[row + j] * F[dRow + j];
        for (let j = 0; j < end; j++) F[dRow + j] = F[row + j] * (F[dRow + j] - sum) * SCALE;
      }
      toGradient(dP, MAX, 1, qkv + k, stride, first, q, n, end);
      toGradient(dP + P, 1, MAX, qkv + first * stride + q, stride, P, k, rows, n);
    }
    for (let r = P; r < end; r++) rotate(gradient.qkv + r * stride, r, -1);
    linear(gradient.qkv + P * stride, back.qkv, normed + P * D, rows, stride, D);
  }
  /** A product of one head's width, to gradient.qkv: m rows from `row` on, at a column. */
  function toGradient(a, am, ak, b, bk, row, column, m, k) {
    const to = gradient.qkv + row * 3 * D + column;
    product(a, am, ak, b, bk, PANEL, to, 3 * D, m, k, d, 0);
  }
  /** Add to dx what comes back through a norm of x, its output's gradient being dy. */
  function rmsBackward(x, weight, dy, dx, rows) {
    for (let r = 0; r < rows; r++, x += D, dy += D, dx += D) {
      const scale = rmsScale(x);
      let dot = 0;
      for (let i = 0; i < D; i++) dot += F[dy + i] * F[weight + i] * F[x + i];
      dot *= scale ** 3 / D;
      for (let i = 0; i < D; i++) F[dx + i] += F[dy + i] * F[weight + i] * scale - F[x + i] * dot;
    }
  }
  /** Grad-CAM's sum over channels, each weighted by its mean gradient over the image tokens. */
  function weighted(feature, dFeature) {
    const mean = new Float64Array(D),
      map = new Float32Array(patches);
    for (let r = 0; r < patches; r++)
      for (let i = 0; i < D; i++) mean[i] += F[dFeature + r * D + i] / patches;
    for (let r = 0; r < patches; r++) {
      let sum = 0;
      for (let i = 0; i < D; i++) sum += F[feature + r * D + i] * mean[i];
      map[r] = Math.max(sum, 0);
    }
    return map;
  }
}
