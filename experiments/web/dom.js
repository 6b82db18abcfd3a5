// Elements, numbers, scales and axes. Data reach the page as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function sv(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

const signed = (text) => text.replace("-", "−");

function number(value, digits) {
  if (!isNumber(value)) return "–";
  return signed(plainNumber(value, digits));
}

function plainNumber(value, digits) {
  const size = Math.abs(value);
  if (digits === undefined) {
    if (size && size < 1e-3) return value.toExponential(1);
    digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
    return value.toLocaleString("en-US", { maximumFractionDigits: digits });
  }
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en-US", options);
}

const money = (value) => (isNumber(value) ? `$\u00a0${number(value, Math.abs(value) >= 100 ? 0 : 2)}` : "–");

function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 1) return seconds ? `${number(seconds, 1)} s` : "0";
  if (seconds < 180) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${number(seconds / 3600, 1)} h`;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${number(value / 1e9)} G`;
  if (size >= 1e6) return `${number(value / 1e6)} M`;
  if (size >= 1e4) return `${number(value / 1e3)} k`;
  return number(value);
}

const clock = (hour) => {
  const minutes = Math.round(hour * 60);
  const pad = (part) => String(part).padStart(2, "0");
  return `${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
};

// Bytes that were deflated and written in base 64.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A packed array: see html_pack.py. Two planes of bytes, differences along time.
async function unpackArray(packed) {
  if (!packed.values) {
    const [blocks, times, width] = packed.shape;
    const bytes = await unpack(packed.data);
    const size = blocks * times * width;
    const values = new Float32Array(size);
    const raw = new Int32Array(size);
    for (let i = 0; i < size; i++) {
      const word = bytes[i] | (bytes[size + i] << 8);
      const step = Math.floor(i / width) % times;
      raw[i] = (word + (step ? raw[i - width] : 0)) & 0xffff;
      values[i] = raw[i] === 0xffff ? NaN : raw[i] * packed.quantum;
    }
    packed.values = values;
  }
  return packed.values;
}

function linear(d0, d1, r0, r1) {
  const span = d1 - d0 || 1;
  const map = (value) => r0 + ((value - d0) / span) * (r1 - r0);
  map.domain = [d0, d1];
  map.range = [r0, r1];
  map.ticks = (count) => niceTicks(d0, d1, count);
  return map;
}

function logarithmic(d0, d1, r0, r1) {
  const inner = linear(Math.log10(d0), Math.log10(d1), r0, r1);
  const map = (value) => inner(Math.log10(Math.max(value, d0)));
  map.domain = [d0, d1];
  map.range = [r0, r1];
  map.ticks = () => {
    const ticks = [];
    for (let e = Math.ceil(Math.log10(d0) - 1e-9); e <= Math.log10(d1) + 1e-9; e++) {
      ticks.push(10 ** e);
    }
    return ticks;
  };
  return map;
}

function niceTicks(low, high, count = 5) {
  const rough = (high - low) / Math.max(count, 1);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6; i++) {
    ticks.push(Math.abs(i * step) < step * 1e-6 ? 0 : i * step);
  }
  return ticks;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (Number.isFinite(value)) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : [0, 1];
}

function padded([low, high], share = 0.06) {
  const gap = (high - low) * share || Math.abs(high) * share || 0.5;
  return [low - gap, high + gap];
}

const pen = el("canvas").getContext("2d");

function textWidth(text) {
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

// Axes with their labels. `box` is {left, top, right, bottom} in pixels.
function axisX(root, scale, box, { label, ticks, format = number, grid = false }) {
  for (const tick of ticks) {
    const x = scale(tick);
    if (x < box.left - 0.5 || x > box.right + 0.5) continue;
    if (grid) root.append(sv("line", { class: "gridline", x1: x, x2: x, y1: box.top, y2: box.bottom }));
    root.append(sv("text", { x, y: box.bottom + 17, "text-anchor": "middle" }, format(tick)));
  }
  root.append(sv("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  if (label) {
    root.append(sv("text", { x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle" }, label));
  }
}

function axisY(root, scale, box, { label, ticks, format = number }) {
  for (const tick of ticks) {
    const y = scale(tick);
    if (y < box.top - 0.5 || y > box.bottom + 0.5) continue;
    root.append(sv("line", { class: "gridline", x1: box.left, x2: box.right, y1: y, y2: y }));
    root.append(sv("text", { x: box.left - 7, y: y + 4, "text-anchor": "end" }, format(tick)));
  }
  // Above the axis, not along it: it stays readable at any width.
  if (label) root.append(sv("text", { class: "strong", x: 2, y: box.top - 10 }, label));
}

// A chart that is drawn again when its box or the theme changes.
const charts = new Set();

function chart(height, draw, label) {
  const holder = el("div", { class: "chart" });
  const paint = () => {
    const width = Math.floor(holder.clientWidth);
    if (!width) return;
    const tall = typeof height === "function" ? height(width) : height;
    const attributes = { width, height: tall, viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": label };
    const root = sv("svg", attributes);
    draw(root, width, tall, holder);
    holder.replaceChildren(root);
  };
  holder.paint = paint;
  new ResizeObserver(() => {
    if (holder.clientWidth !== holder.lastWidth) {
      holder.lastWidth = holder.clientWidth;
      paint();
    }
  }).observe(holder);
  charts.add(holder);
  return holder;
}

const tip = document.getElementById("tip");

function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const width = document.documentElement.clientWidth;
  const box = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(event.pageX + 14, width - box.width - 8));
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(event.pageY - box.height - 12, 4)}px`;
}

function hideTip() {
  tip.hidden = true;
  tip.style.left = tip.style.top = "0";
}

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  if (matchMedia("print").matches) return false;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function mix(one, other, share) {
  const parts = [1, 3, 5].map((at) => {
    const a = parseInt(one.slice(at, at + 2), 16), b = parseInt(other.slice(at, at + 2), 16);
    return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
  });
  return `#${parts.join("")}`;
}

// Colours are chosen for a light page; on a dark one they are lifted.
const shade = (colour) => (isDark() ? mix(colour, "#ffffff", colour === "#000000" ? 0.92 : 0.27) : colour);

const SHAPES = {
  o: (r) => sv("circle", { r }),
  s: (r) => sv("rect", { x: -r * 0.88, y: -r * 0.88, width: r * 1.76, height: r * 1.76 }),
  D: (r) => polygon([[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]], r),
  d: (r) => polygon([[0, -1.35], [0.8, 0], [0, 1.35], [-0.8, 0]], r),
  "^": (r) => polygon([[0, -1.15], [1.1, 0.85], [-1.1, 0.85]], r),
  v: (r) => polygon([[0, 1.15], [1.1, -0.85], [-1.1, -0.85]], r),
  "<": (r) => polygon([[-1.15, 0], [0.85, -1.1], [0.85, 1.1]], r),
  ">": (r) => polygon([[1.15, 0], [-0.85, -1.1], [-0.85, 1.1]], r),
  P: (r) => polygon([[-.4, -1.1], [.4, -1.1], [.4, -.4], [1.1, -.4], [1.1, .4], [.4, .4], [.4, 1.1],
    [-.4, 1.1], [-.4, .4], [-1.1, .4], [-1.1, -.4], [-.4, -.4]], r),
  X: (r) => fill(SHAPES.P(r), { transform: "rotate(45)" }, []),
  p: (r) => star(5, 1.15, 1.15, r),
  h: (r) => star(6, 1.15, 1.15, r),
  "*": (r) => star(5, 1.45, 0.6, r),
};

function polygon(points, r) {
  return sv("polygon", { points: points.map(([x, y]) => `${x * r},${y * r}`).join(" ") });
}

function star(count, outer, inner, r) {
  const points = [];
  for (let i = 0; i < 2 * count; i++) {
    const angle = (Math.PI * i) / count - Math.PI / 2, far = i % 2 ? inner : outer;
    if (outer === inner && i % 2) continue;
    points.push([far * Math.cos(angle), far * Math.sin(angle)]);
  }
  return polygon(points, r);
}

function marker(method, r = 5) {
  const shape = (SHAPES[method.marker] || SHAPES.o)(r);
  return sv("g", { fill: shade(method.colour), stroke: isDark() ? "#171c23" : "#ffffff", "stroke-width": 1 }, shape);
}

function glyph(method) {
  return sv("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true", "data-glyph": method.name }, marker(method));
}

function segments(label, options, current, choose) {
  const buttons = options.map(([value, text]) => {
    const button = el("button", { type: "button", "data-value": value, "aria-pressed": value === current }, text);
    button.setAttribute("aria-pressed", String(value === current));
    button.addEventListener("click", () => {
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      choose(value);
    });
    return button;
  });
  return el("div", { class: "control" }, label, el("div", { class: "segments", role: "group", "aria-label": label }, buttons));
}

function chooser(label, options, current, choose, id) {
  const select = el("select", { id }, options.map(([value, text]) => el("option", { value }, text)));
  select.value = String(current);
  select.addEventListener("change", () => choose(select.value));
  const box = el("label", {}, label, select);
  box.select = select;
  return box;
}

function toggles(methods, hidden, change) {
  return el("div", { class: "chips", role: "group", "aria-label": "Methods shown" }, methods.map((method) => {
    const button = el("button", { type: "button", "aria-pressed": "true", "data-method": method.name }, glyph(method), method.title);
    button.setAttribute("aria-pressed", String(!hidden.has(method.name)));
    button.addEventListener("click", () => {
      if (!hidden.delete(method.name)) hidden.add(method.name);
      button.setAttribute("aria-pressed", String(!hidden.has(method.name)));
      change();
    });
    return button;
  }));
}

function section(id, title, about, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title), about && el("p", { class: "about" }, about), children);
}

const HOURS = [0, 4, 8, 12, 16, 20, 24];
