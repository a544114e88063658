// Draws a scene as the library does (data/shapes/render.py), in float32 and step by step, so that
// the same scene gives the same bytes. Sprites and letters are those that Python drew.
"use strict";

function infoflowRenderer({ header, base64 }) {
  const { side, sprites, colours, sign } = header,
    f = Math.fround;
  const cover = Float32Array.from(atob(base64), (byte) => byte.charCodeAt(0) / 255);
  const clip = (value) => Math.min(Math.max(value, 0), 255);

  function blend(pixels, sprite, size, left, top, colour) {
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const c = cover[sprites[sprite] + y * size + x],
          at = ((top + y) * side + left + x) * 3;
        for (let k = 0; k < 3; k++)
          pixels[at + k] = f(f(pixels[at + k] * f(1 - c)) + f(f(colour[k]) * c));
      }
  }
  function fill(pixels, left, top, right, bottom, grey) {
    for (let y = top; y < bottom; y++)
      pixels.fill(grey, (y * side + left) * 3, (y * side + right) * 3);
  }
  /** A scene as bytes (side, side, 3); noise holds a standard normal for each pixel. */
  return function render({ ground, objects, signs }, noise) {
    const pixels = new Float32Array(side * side * 3),
      bytes = new Uint8Array(pixels.length);
    for (let y = 0; y < side; y++) {
      const height = f(y === side - 1 ? 1 : y * (2 / (side - 1)) - 1),
        shade = f(height * f(ground.shade));
      for (let i = y * side * 3; i < (y + 1) * side * 3; i++)
        pixels[i] = f(f(ground.grey + ground.tints[i % 3]) + shade);
    }
    for (const { colour, shape, size, left, top, tint } of objects)
      blend(
        pixels,
        shape + size,
        size,
        left,
        top,
        colours[colour].map((value, k) => clip(value + tint[k])),
      );
    for (const { colour, text, left, top, jitter } of signs) {
      const [board, ink] = sign.greys[colour],
        [width, height] = sign.size,
        [x, y] = sign.inset;
      fill(pixels, left, top, left + width, top + height, ink);
      fill(pixels, left + 1, top + 1, left + width - 1, top + height - 1, board);
      [...text].forEach((letter, i) =>
        blend(pixels, letter, sign.letter, left + x + sign.letter * i, top + y + jitter, [
          ink,
          ink,
          ink,
        ]),
      );
    }
    for (let i = 0; i < bytes.length; i++)
      bytes[i] = clip(f(pixels[i] + f(noise[Math.floor(i / 3)] * 4)));
    return bytes;
  };
}
