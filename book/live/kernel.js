// A matrix product in WebAssembly, assembled here from instructions, and the same in JavaScript.
//
// product(a, am, ak, b, bk, bp, c, cm, m, k, n, add): c[m, n] (+)= sum over k of a[m, k] b[k, n],
// float32. All places and strides count floats. b is read in panels of 8 columns that lie bp apart,
// its rows bk apart; a is read number by number, so it may lie transposed. n is filled up to 8s.
"use strict";

/**
 * The module's bytes. It imports the memory as env.memory and exports the function `product`. Fused,
 * a product and a sum are one instruction, which not every browser has.
 */
function infoflowKernel(isFused) {
  // a whole number in the variable-length form that WebAssembly has for all of them
  const leb = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...leb(n >> 7)]);
  const ulong = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...ulong(n >> 7)]);
  const sized = (bytes) => [...ulong(bytes.length), ...bytes];
  const text = (word) => sized([...new TextEncoder().encode(word)]);
  const I32 = 0x7f, V128 = 0x7b, NOTHING = 0x40;

  const names = ["a", "am", "ak", "b", "bk", "bp", "c", "cm", "m", "k", "n", "add"];
  const numbers = ["i", "left", "pb", "p0", "p1", "p2", "p3"];
  const vectors = ["b0", "b1", "s", ...[0, 1, 2, 3].flatMap((r) => [`low${r}`, `high${r}`])];
  const locals = [...names, ...numbers, ...vectors];
  const get = (name) => [0x20, ...ulong(locals.indexOf(name))];
  const set = (name, ...code) => [...code.flat(), 0x21, ...ulong(locals.indexOf(name))];
  const whole = (n) => [0x41, ...leb(n)];
  const add = (x, y) => [...x, ...y, 0x6a];
  const minus = (x, y) => [...x, ...y, 0x6b];
  const times = (x, y) => [...x, ...y, 0x6c];
  const simd = (code, ...more) => [0xfd, ...ulong(code), ...more];
  const load = (place, offset) => [...place, ...simd(0, 0, offset)];
  const splat = (place) => [...place, ...simd(9, 0, 0)];
  const store = (place, value, offset) => [...place, ...value, ...simd(11, 0, offset)];
  const zero = simd(12, ...Array(16).fill(0));
  const plus = (x, y) => [...x, ...y, ...simd(228)];
  const plusScaled = (sum, x, y) =>
    isFused ? [...x, ...y, ...sum, ...simd(261)] : plus(sum, [...x, ...y, ...simd(230)]);
  const repeat = (...code) => [0x03, NOTHING, ...code.flat(), 0x0b];
  const whenever = (test, ...code) => [...test, 0x04, NOTHING, ...code.flat(), 0x0b];
  const again = [0x0d, 0]; // to the start of the innermost loop, if what is on the stack is not 0
  const up = (name, ...by) => set(name, add(get(name), by.flat()));

  /** Rows of c, so many at once, as long as that many are left. */
  function rows(count) {
    const each = (code) => Array.from({ length: count }, (_, r) => code(r)).flat();
    const enough = [...get("left"), ...whole(count), 0x4e]; // left >= count
    const low = (r) => get(`low${r}`), high = (r) => get(`high${r}`);
    return whenever(enough, repeat(
      each((r) => [
        ...set(`low${r}`, zero), ...set(`high${r}`, zero),
        ...(r ? set(`p${r}`, add(get(`p${r - 1}`), get("am"))) : []),
      ]),
      set("pb", get("b")), set("i", get("k")),
      repeat(
        set("b0", load(get("pb"), 0)), set("b1", load(get("pb"), 16)),
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
          set(`low${r}`, plus(low(r), load(get("c"), 0))),
          set(`high${r}`, plus(high(r), load(get("c"), 16)))),
        ...store(get("c"), low(r), 0), ...store(get("c"), high(r), 16), ...up("c", get("cm")),
      ]),
      // back to the start of the row, then on by the rows that are done
      set("p0", add(minus(get("p0"), times(get("k"), get("ak"))), times(get("am"), whole(count)))),
      set("left", minus(get("left"), whole(count))), enough, again,
    ));
  }

  const strides = ["a", "am", "ak", "b", "bk", "bp", "c", "cm"];
  const body = [
    ...strides.flatMap((name) => set(name, times(get(name), whole(4)))), // floats to bytes
    ...repeat(
      set("left", get("m")), set("p0", get("a")),
      rows(4), rows(1),
      up("b", get("bp")),
      // the rows have moved c down; up again, and to the next 8 columns
      set("c", add(minus(get("c"), times(get("m"), get("cm"))), whole(32))),
      set("n", minus(get("n"), whole(8))), [...get("n"), ...whole(0), 0x4a], again,
    ),
    0x0b,
  ];
  const code = [2, numbers.length, I32, vectors.length, V128, ...body];
  const section = (id, ...content) => [id, ...sized(content.flat())];
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60], sized(Array(names.length).fill(I32)), [0]),
    ...section(2, [1], text("env"), text("memory"), [2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1], text("product"), [0, 0]),
    ...section(10, [1], sized(code)),
  ]);
}

/** The same product over the floats F, for browsers whose WebAssembly has no vectors. */
function infoflowPlainProduct(F) {
  return (a, am, ak, b, bk, bp, c, cm, m, k, n, add) => {
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
  };
}
