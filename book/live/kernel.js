// What the model spends its time on, in WebAssembly, assembled here from instructions, and the same
// in JavaScript. All numbers are float32; all places and strides count floats; widths are multiples
// of 8.
//
// product(a, am, ak, b, bk, bp, c, cm, m, k, n, add): c[m, n] (+)= sum over k of a[m, k] b[k, n].
//   b is read in panels of 8 columns that lie bp apart, its rows bk apart; a is read number by
//   number, so it may lie transposed.
// softmax(row, width, scale): of scale times a row of scores, in place; -Infinity becomes 0.
// sigmoid(from, to, n, scale): of scale times n numbers.
"use strict";

/**
 * The module's bytes. It imports the memory as env.memory and exports the functions above. Fused, a
 * product and a sum are one instruction, which not every browser has.
 */
function infoflowKernel(isFused) {
  // a whole number in the variable-length form that WebAssembly has for all of them
  const leb = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...leb(n >> 7)]);
  const ulong = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...ulong(n >> 7)]);
  const sized = (bytes) => [...ulong(bytes.length), ...bytes];
  const text = (word) => sized([...new TextEncoder().encode(word)]);
  const I32 = 0x7f, F32 = 0x7d, V128 = 0x7b, NOTHING = 0x40;

  let locals = []; // of the function that is being assembled
  const get = (name) => [0x20, ...ulong(locals.indexOf(name))];
  const set = (name, ...code) => [...code.flat(), 0x21, ...ulong(locals.indexOf(name))];
  const whole = (n) => [0x41, ...leb(n)];
  const add = (x, y) => [...x, ...y, 0x6a];
  const minus = (x, y) => [...x, ...y, 0x6b];
  const times = (x, y) => [...x, ...y, 0x6c];
  const repeat = (...code) => [0x03, NOTHING, ...code.flat(), 0x0b];
  const whenever = (test, ...code) => [...test, 0x04, NOTHING, ...code.flat(), 0x0b];
  const again = [0x0d, 0]; // to the start of the innermost loop, if what is on the stack is not 0
  const up = (name, ...by) => set(name, add(get(name), by.flat()));
  const floatsToBytes = (names) => names.flatMap((name) => set(name, times(get(name), whole(4))));

  // vectors of four numbers
  const simd = (code, ...more) => [0xfd, ...ulong(code), ...more];
  const load = (place, offset = 0) => [...place, ...simd(0, 0, offset)];
  const store = (place, value, offset = 0) => [...place, ...value, ...simd(11, 0, offset)];
  const splat = (place) => [...place, ...simd(9, 0, 0)]; // of a number in memory
  const vector = (numbers) => simd(12, ...new Uint8Array(numbers.buffer));
  const four = (number) => vector(new Float32Array(4).fill(number));
  const spread = (number) => [...number, ...simd(19)];
  const [vPlus, vMinus, vTimes, vOver, vMin, vMax] =
    [228, 229, 230, 231, 232, 233].map((code) => (x, y) => [...x, ...y, ...simd(code)]);
  const plusScaled = (sum, x, y) =>
    isFused ? [...x, ...y, ...sum, ...simd(261)] : vPlus(sum, vTimes(x, y));
  /** All four numbers of a vector joined by an operation on two, in each of the four places. */
  const across = (name, operation) => spread([0, 1, 2, 3].flatMap((lane) =>
    [...get(name), ...simd(31, lane), ...(lane ? [operation] : [])]));
  /** Over a row of `count` numbers from `start` on; within it they lie at `at`. */
  const along = (start, count, ...code) => [
    ...set("at", get(start)), ...set("i", get(count)),
    ...repeat(...code, up("at", whole(16)), set("i", minus(get("i"), whole(4))), get("i"), again),
  ];
  /**
   * e to the power x, as 2 to the power t: of t's whole part by a number's exponent, of the rest by
   * Taylor's series. 0 where it is below all normal numbers.
   */
  function exp(x) {
    const terms = [1];
    for (let k = 1; k < 7; k++) terms.unshift((terms[0] * Math.LN2) / k);
    const [highest, ...others] = terms.map(four);
    const bias = vector(new Int32Array(4).fill(127));
    return [
      ...set("t", vMin(vMax(vTimes(x, four(Math.LOG2E)), four(-127)), four(127))),
      ...set("whole", get("t"), simd(106)),
      ...set("t", vMinus(get("t"), get("whole"))),
      ...vTimes(
        others.reduce((sum, term) => plusScaled(term, sum, get("t")), highest),
        [...get("whole"), ...simd(248), ...bias, ...simd(174), ...whole(23), ...simd(171)],
      ),
    ];
  }

  // rows of c: with six of them, all of a processor's vector registers are in use
  const AT_ONCE = [6, 5, 4, 3, 2, 1];
  /** Rows of c, so many at once, as long as that many are left. */
  function rows(count) {
    const each = (code) => Array.from({ length: count }, (_, r) => code(r)).flat();
    const enough = [...get("left"), ...whole(count), 0x4e]; // left >= count
    const low = (r) => get(`low${r}`), high = (r) => get(`high${r}`);
    return whenever(enough, repeat(
      each((r) => [
        ...set(`low${r}`, four(0)), ...set(`high${r}`, four(0)),
        ...(r ? set(`p${r}`, add(get(`p${r - 1}`), get("am"))) : []),
      ]),
      set("pb", get("b")), set("i", get("k")),
      repeat(
        set("b0", load(get("pb"))), set("b1", load(get("pb"), 16)),
        each((r) => [
          ...set("s", splat(get(`p${r}`))),
          ...set(`low${r}`, plusScaled(low(r), get("s"), get("b0"))),
          ...set(`high${r}`, plusScaled(high(r), get("s"), get("b1"))),
          ...up(`p${r}`, get("ak")),
        ]),
        up("pb", get("bk")), set("i", minus(get("i"), whole(1))), get("i"), again,
      ),
      each((r) => [
        ...whenever(get("add"),
          set(`low${r}`, vPlus(low(r), load(get("c")))),
          set(`high${r}`, vPlus(high(r), load(get("c"), 16)))),
        ...store(get("c"), low(r)), ...store(get("c"), high(r), 16), ...up("c", get("cm")),
      ]),
      // back to the start of the row, then on by the rows that are done
      set("p0", add(minus(get("p0"), times(get("k"), get("ak"))), times(get("am"), whole(count)))),
      set("left", minus(get("left"), whole(count))), enough, again,
    ));
  }

  const functions = {
    product: {
      whole: ["a", "am", "ak", "b", "bk", "bp", "c", "cm", "m", "k", "n", "add"],
      places: ["i", "left", "pb", ...AT_ONCE.map((n) => `p${n - 1}`)],
      vectors: ["b0", "b1", "s", ...AT_ONCE.flatMap((n) => [`low${n - 1}`, `high${n - 1}`])],
      body: () => [
        ...floatsToBytes(["a", "am", "ak", "b", "bk", "bp", "c", "cm"]),
        ...repeat(
          set("left", get("m")), set("p0", get("a")),
          AT_ONCE.flatMap(rows),
          up("b", get("bp")),
          // the rows have moved c down; up again, and to the next 8 columns
          set("c", add(minus(get("c"), times(get("m"), get("cm"))), whole(32))),
          set("n", minus(get("n"), whole(8))), [...get("n"), ...whole(0), 0x4a], again,
        ),
      ],
    },
    softmax: {
      whole: ["row", "width"], scaled: true,
      places: ["i", "at"], vectors: ["t", "whole", "top", "sum"],
      body: () => [
        ...floatsToBytes(["row"]),
        ...set("top", four(-Infinity)),
        ...along("row", "width", set("top", vMax(get("top"), load(get("at"))))),
        ...set("top", across("top", 0x97)),
        ...along("row", "width",
          store(get("at"), exp(vTimes(vMinus(load(get("at")), get("top")), spread(get("scale"))))),
          set("sum", vPlus(get("sum"), load(get("at"))))),
        ...set("sum", across("sum", 0x92)),
        ...along("row", "width", store(get("at"), vOver(load(get("at")), get("sum")))),
      ],
    },
    sigmoid: {
      whole: ["from", "to", "n"], scaled: true,
      places: ["i", "at"], vectors: ["t", "whole"],
      body: () => [
        ...floatsToBytes(["from", "to"]),
        ...set("to", minus(get("to"), get("from"))), // how far the outputs lie behind the inputs
        ...along("from", "n", store(
          add(get("at"), get("to")),
          vOver(four(1), vPlus(four(1),
            exp(vTimes(load(get("at")), vMinus(four(0), spread(get("scale"))))))))),
      ],
    },
  };
  const all = Object.values(functions), names = Object.keys(functions);
  const section = (id, entries) => [id, ...sized([...ulong(entries.length), ...entries.flat()])];
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, all.map(({ whole, scaled }) =>
      [0x60, ...sized([...whole.map(() => I32), ...(scaled ? [F32] : [])]), 0])),
    ...section(2, [[...text("env"), ...text("memory"), 2, 0, 1]]),
    ...section(3, all.map((_, i) => [i])),
    ...section(7, names.map((name, i) => [...text(name), 0, i])),
    ...section(10, all.map(({ whole, scaled, places, vectors, body }) => {
      locals = [...whole, ...(scaled ? ["scale"] : []), ...places, ...vectors];
      return sized([2, places.length, I32, vectors.length, V128, ...body(), 0x0b]);
    })),
  ]);
}

/** The same over the floats F, for browsers whose WebAssembly has no vectors. */
function infoflowPlainKernel(F) {
  function product(a, am, ak, b, bk, bp, c, cm, m, k, n, add) {
    for (let column = 0; column < n; column += 4) {
      const panel = b + (column >> 3) * bp + (column & 4);
      for (let i = 0; i < m; i++) {
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (let t = 0, x = a + i * am, y = panel; t < k; t++, x += ak, y += bk) {
          const u = F[x];
          s0 += u * F[y]; s1 += u * F[y + 1]; s2 += u * F[y + 2]; s3 += u * F[y + 3];
        }
        const to = c + i * cm + column;
        if (add) { s0 += F[to]; s1 += F[to + 1]; s2 += F[to + 2]; s3 += F[to + 3]; }
        F[to] = s0; F[to + 1] = s1; F[to + 2] = s2; F[to + 3] = s3;
      }
    }
  }
  function softmax(row, width, scale) {
    let top = -Infinity, sum = 0;
    for (let i = row; i < row + width; i++) top = Math.max(top, F[i]);
    for (let i = row; i < row + width; i++) sum += F[i] = Math.exp((F[i] - top) * scale);
    for (let i = row; i < row + width; i++) F[i] /= sum;
  }
  function sigmoid(from, to, n, scale) {
    for (let i = 0; i < n; i++) F[to + i] = 1 / (1 + Math.exp(-F[from + i] * scale));
  }
  return { product, softmax, sigmoid };
}
