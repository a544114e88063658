// What a test asks of an opened page: which boxes stick out, and which words are hard to read.
"use strict";

globalThis.audit = {
  /** Let all that is folded be seen, and colours change at once. */
  prepare() {
    document.querySelectorAll("details").forEach((fold) => (fold.open = true));
    const style = document.createElement("style");
    style.textContent = "* { transition: none !important; animation: none !important; }";
    document.head.append(style);
  },

  /** What sticks out of the window, if the page scrolls sideways. */
  overflow() {
    const { clientWidth, scrollWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const out = audit.seen("main *").filter((e) => audit.right(e) > clientWidth + 1);
    return [...out.slice(0, 5).map(audit.name), `document is ${scrollWidth} px wide`];
  },

  /** What paper would lose: boxes beyond its right edge, and the insides of boxes that scroll. */
  cutOff() {
    const width = document.documentElement.clientWidth;
    const lost = (e) =>
      audit.right(e) > width + 1 ||
      (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible");
    const kinds = "table, th, td, pre, img, svg, figure, mjx-container, p, li, dt, dd, div, details";
    return audit.seen(`.bd-article :is(${kinds})`).filter(lost).slice(0, 5).map(audit.name);
  },

  /** What axe finds wrong within the boxes of a kind. Colours, on which it spends most of its time,
   *  are audited apart, and of a part of a page not how all of it is laid out. It is told of the
   *  whole page: asked about a part, it spends most of its time on which elements that has. */
  async violations(within) {
    const apart = ["color-contrast", "link-in-text-block"];
    if (within !== ":root") apart.push("bypass", "region");
    const rules = Object.fromEntries(apart.map((rule) => [rule, { enabled: false }]));
    const options = { resultTypes: ["violations"], rules, preload: false, elementRef: true };
    const { violations } = await axe.run(options);
    return violations.flatMap(({ id, nodes }) =>
      nodes.filter(({ element }) => element.closest(within)).slice(0, 1).map((n) => [id, n.html]));
  },

  /** Words with less contrast than WCAG 2's level AA asks for. */
  faint() {
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const known = new Map(), grounds = new Map([[null, [255, 255, 255]]]);
    const colour = (text) => {
      if (!known.has(text)) {
        paint.clearRect(0, 0, 1, 1);
        paint.fillStyle = text;
        paint.fillRect(0, 0, 1, 1);
        known.set(text, [...paint.getImageData(0, 0, 1, 1).data]);
      }
      return known.get(text);
    };
    const over = ([r, g, b, a], ground) =>
      [r, g, b].map((value, i) => (value * a + ground[i] * (255 - a)) / 255);
    const ground = (e) => {
      if (!grounds.has(e))
        grounds.set(e, over(colour(getComputedStyle(e).backgroundColor), ground(e.parentElement)));
      return grounds.get(e);
    };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((v) => (v <= 10.3 ? v / 3295 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const isFaint = (e) => {
      const { color, fontSize, fontWeight } = getComputedStyle(e), size = parseFloat(fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && fontWeight >= 700);
      const behind = light(ground(e)), word = light(over(colour(color), ground(e)));
      return Math.max(word / behind, behind / word) < (isLarge ? 3 : 4.5);
    };
    return audit.written("*").filter((e) => audit.hasWords(e) && !e.disabled && isFaint(e))
      .slice(0, 5).map((e) => `${getComputedStyle(e).color} on ${ground(e).map(Math.round)}: ` +
        audit.name(e));
  },

  /** Links that nothing but their colour tells from the words around them. */
  hiddenLinks() {
    const isUnderlined = (e) => getComputedStyle(e).textDecorationLine.includes("underline");
    return audit.written("a[href]").filter((e) => e.textContent.trim())
      .filter((e) => audit.hasWords(e.parentElement) && !isUnderlined(e)).map(audit.name);
  },

  /** Pictures that lie on a dark ground, so that they need one of their own. */
  onDark() {
    const isWhite = (e) => getComputedStyle(e).backgroundColor === "rgb(255, 255, 255)";
    const isFile = (e) => e.src.startsWith("file:");
    return audit.seen(".bd-article img").filter((e) => isFile(e) && !isWhite(e)).map((e) => e.src);
  },

  /** What is seen of a page's article, or of all of a page that has none. */
  written: (selector) => audit.seen(
    `${document.querySelector(".bd-article") ? ".bd-article" : "body"} ${selector}`),
  seen: (selector) => [...document.querySelectorAll(selector)]
    .filter((e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true })),
  hasWords: (e) =>
    [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()),
  right: (e) => e.getBoundingClientRect().right,
  name: (e) => `${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 60)}`,
};
