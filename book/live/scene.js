// The scene that can be changed: what lies on the board, each thing under a handle that is dragged,
// or moved by the arrow keys.
"use strict";

/**
 * @param board the element around the canvas, with an element .handles
 * @param world the header of world.js
 * @param changed is called when a thing moves, comes, goes or is another
 * @param chosen is called with the thing whose handle has the focus, or null
 */
function infoflowScene(board, world, changed, chosen) {
  const { side, sign, sizes } = world,
    handles = board.querySelector(".handles");
  let scene = null,
    current = null;
  const clone = (value) => JSON.parse(JSON.stringify(value));
  const things = () => [...scene.objects, ...scene.signs];
  const extent = (thing) => (thing.shape ? [thing.size, thing.size] : sign.size);
  const nearest = (values, wanted) =>
    values.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
  const nameOf = (thing) =>
    thing.shape ? `${thing.colour} ${thing.shape}` : `${thing.colour} sign “${thing.text}”`;

  function place(thing, left, top) {
    if (thing.shape) {
      const most = side - thing.size,
        within = (value) => Math.min(Math.max(Math.round(value), 0), most);
      [thing.left, thing.top] = [within(left), within(top)];
    } else [thing.left, thing.top] = [nearest(sign.lefts, left), nearest(sign.tops, top)];
  }
  function update() {
    [...handles.children].forEach((handle, i) => {
      const thing = things()[i],
        [width, height] = extent(thing),
        percent = (n) => `${(100 * n) / side}%`;
      Object.assign(handle.style, {
        left: percent(thing.left),
        top: percent(thing.top),
        width: percent(width),
        height: percent(height),
      });
      handle.setAttribute(
        "aria-label",
        `${nameOf(thing)}, ${thing.left} from the left, ${thing.top} from the top; ` +
          "arrow keys move it",
      );
      handle.setAttribute("aria-pressed", thing === current);
    });
    changed();
  }
  function choose(thing) {
    current = thing;
    [...handles.children].forEach((handle, i) =>
      handle.setAttribute("aria-pressed", things()[i] === thing),
    );
    chosen(thing);
  }
  function addHandle(i) {
    const handle = document.createElement("button"),
      thing = () => things()[i];
    let grip = null;
    handle.type = "button";
    handle.addEventListener("focus", () => choose(thing()));
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus(); // Safari gives a pressed button none
      grip = [event.clientX, event.clientY, thing().left, thing().top];
    });
    handle.addEventListener("pointermove", (event) => {
      if (!grip) return;
      const unit = side / board.clientWidth;
      place(
        thing(),
        grip[2] + (event.clientX - grip[0]) * unit,
        grip[3] + (event.clientY - grip[1]) * unit,
      );
      update();
    });
    for (const end of ["pointerup", "pointercancel"])
      handle.addEventListener(end, () => {
        grip = null;
      });
    handle.addEventListener("keydown", (event) => {
      const [x, y] = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1],
      }[event.key] ?? [0, 0];
      if (event.key === "Delete") remove();
      if (!x && !y) return;
      event.preventDefault();
      // a sign goes from place to place, a shape by four pixels, or with shift by one
      const step = thing().shape
        ? event.shiftKey
          ? 1
          : 4
        : (sign.lefts[1] ?? sign.letter) - sign.lefts[0];
      place(thing(), thing().left + x * step, thing().top + y * step);
      update();
    });
    handles.append(handle);
  }
  function rebuild() {
    handles.replaceChildren();
    things().forEach((_, i) => addHandle(i));
    update();
  }
  function add(kind, thing) {
    scene[kind].push(thing);
    place(thing, thing.left, thing.top);
    rebuild();
    handles.children[things().indexOf(thing)].focus();
  }
  function remove() {
    for (const kind of ["objects", "signs"])
      scene[kind] = scene[kind].filter((thing) => thing !== current);
    choose(null);
    rebuild();
    handles.firstElementChild?.focus();
  }
  /** In what the scene differs from all that the model was trained on. */
  function strange() {
    const all = things(),
      [least, most] = world.objects,
      found = [],
      names = scene.objects.map(nameOf);
    const close = (a, b) => {
      const [[w, h], [v, g]] = [extent(a), extent(b)];
      return (
        a.left < b.left + v + world.gap &&
        b.left < a.left + w + world.gap &&
        a.top < b.top + g + world.gap &&
        b.top < a.top + h + world.gap
      );
    };
    if (all.some((a, i) => all.some((b, j) => i < j && close(a, b)))) found.push("things touch");
    if (scene.objects.length < least || scene.objects.length > most)
      found.push(`there are not ${least} to ${most} shapes`);
    if (scene.signs.length > sign.most) found.push(`there are more than ${sign.most} signs`);
    if (new Set(names).size < names.length) found.push("two shapes are the same");
    if (new Set(scene.signs.map(({ colour }) => colour)).size < scene.signs.length)
      found.push("two signs have one colour");
    return found;
  }
  return {
    open(given) {
      scene = clone(given);
      choose(null);
      rebuild();
    },
    addShape(colour, shape) {
      add("objects", {
        colour,
        shape,
        size: sizes.at(-1),
        left: side / 2,
        top: side / 2,
        tint: [0, 0, 0],
      });
    },
    addSign(colour, text) {
      add("signs", { colour, text, left: 0, top: 0, jitter: 0 });
    },
    change(values) {
      if (!current) return;
      Object.assign(current, values);
      place(current, current.left, current.top);
      update();
    },
    remove,
    strange,
    nameOf,
    things,
    get scene() {
      return scene;
    },
  };
}
