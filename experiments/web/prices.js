// Multipliers, the prices of voltage that a method has found, over bus and hour.

const SIDES = {
  over: { label: "high voltage", light: ["#f4f5f7", "#f4a582", "#b2182b", "#4a0713"], dark: ["#1d232b", "#7d2f20", "#f4764a", "#ffe3d1"] },
  under: { label: "low voltage", light: ["#f4f5f7", "#92c5de", "#2166ac", "#08264d"], dark: ["#1d232b", "#1f4c7a", "#57a5ee", "#e2f1ff"] },
};

function ramp(colours, share) {
  const at = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
  const i = Math.min(Math.floor(at), colours.length - 2);
  return mix(colours[i], colours[i + 1], at - i);
}

function pricesMap(task, state) {
  const methods = task.methods.filter((method) => task.multipliers[method.name]);
  if (!methods.length) return null;
  if (!task.multipliers[state.priced]) state.priced = methods[0].name;
  const readout = el("p", { class: "readout", id: "price-readout" });
  const holder = el("div", { class: "chart" });
  const pick = () => task.multipliers[state.priced];

  async function paint() {
    const width = Math.floor(holder.clientWidth);
    if (!width) return;
    const packed = pick()[state.side];
    const sides = await Promise.all(Object.keys(SIDES).map((side) => unpackArray(pick()[side])));
    const top = Math.max(...sides.map((values) => extent(values)[1]), 1e-9);
    const values = await unpackArray(packed);
    holder.replaceChildren(drawPrices(width, task, values, top, state.side, readout));
    holder.lastWidth = width;
  }

  holder.paint = paint;
  charts.add(holder);
  new ResizeObserver(() => { if (holder.clientWidth !== holder.lastWidth) paint(); }).observe(holder);
  return section("prices", "Prices of voltage",
    "What learning has come to charge for a voltage beyond its limit, at each bus and hour ($ per p.u. and step). "
    + "Dark places are where the limits bind. Both sides share one scale.",
    el("div", { class: "controls" },
      chooser("method", methods.map((method) => [method.name, method.title]), state.priced, (value) => { state.priced = value; paint(); }, "price-method"),
      segments("price of", Object.entries(SIDES).map(([side, { label }]) => [side, label]), state.side, (value) => { state.side = value; paint(); })),
    readout, holder);
}

function drawPrices(width, task, values, top, side, readout) {
  const { grid } = task;
  const rows = grid.order.length, steps = task.steps;
  const rowHeight = Math.max(3, Math.min(5, 560 / rows));
  const box = { left: 62, right: width - 22, top: 8, bottom: 8 + rows * rowHeight };
  const height = box.bottom + 84;
  const root = sv("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Price of ${SIDES[side].label} by bus and hour` });
  const colours = SIDES[side][isDark() ? "dark" : "light"];
  const share = (value) => Math.sqrt(Math.max(value, 0) / top);
  root.append(bitmap(grid, values, steps, box, (value) => ramp(colours, share(value))));
  const x = linear(0, 24, box.left, box.right);
  axisX(root, x, box, { ticks: HOURS, format: (v) => `${v}:00` });
  const named = niceTicks(0, rows - 1, 14).map(Math.round).filter((i) => i < rows);
  for (const i of named) root.append(sv("text", { x: box.left - 6, y: box.top + (i + 0.5) * rowHeight + 4, "text-anchor": "end" }, grid.buses[grid.order[i]]));
  drawPriceKey(root, box, colours, top);
  const worst = largest(values);
  const text = (bus, step) => [el("b", {}, `bus ${grid.buses[bus]}, ${clock(step * task.dtHours)}: `), `$ ${number(values[step * grid.buses.length + bus])} per p.u.`];
  const rest = () => (values[worst] > 0
    ? readout.replaceChildren("Largest: ", ...text(worst % grid.buses.length, Math.floor(worst / grid.buses.length)))
    : readout.replaceChildren(`No price of ${SIDES[side].label}: it never came to the limit in training.`));
  rest();
  root.addEventListener("pointermove", (event) => {
    const rect = root.getBoundingClientRect();
    const row = Math.floor((event.clientY - rect.top - box.top) / rowHeight);
    const step = Math.floor(((event.clientX - rect.left - box.left) / (box.right - box.left)) * steps);
    if (row >= 0 && row < rows && step >= 0 && step < steps) readout.replaceChildren(...text(grid.order[row], step));
    else rest();
  });
  root.addEventListener("pointerleave", rest);
  return root;
}

function largest(values) {
  let best = 0;
  values.forEach((value, i) => { if (value > values[best]) best = i; });
  return best;
}

// A pixel a bus and step, enlarged without smoothing.
function bitmap(grid, values, steps, box, colourOf) {
  const canvas = el("canvas", { width: steps, height: grid.order.length });
  const context = canvas.getContext("2d");
  grid.order.forEach((bus, row) => {
    for (let step = 0; step < steps; step++) {
      context.fillStyle = colourOf(values[step * grid.buses.length + bus]);
      context.fillRect(step, row, 1, 1);
    }
  });
  const image = sv("image", { href: canvas.toDataURL(), x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, preserveAspectRatio: "none" });
  image.style.imageRendering = "pixelated";
  return image;
}

function drawPriceKey(root, box, colours, top) {
  const [left, y] = [box.left, box.bottom + 42];
  const width = Math.min(320, box.right - box.left);
  const count = 40;
  for (let i = 0; i < count; i++) {
    root.append(sv("rect", { x: left + (i * width) / count, y, width: width / count + 0.6, height: 12, fill: ramp(colours, (i + 0.5) / count) }));
  }
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    root.append(sv("text", { x: left + part * width, y: y + 27, "text-anchor": part === 0 ? "start" : "middle" }, number(part * part * top, top < 10 ? 2 : 0)));
  }
}
