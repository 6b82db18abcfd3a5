// Learning curves on validation days: a thin line a run, a thick one their median.

const ACROSS = {
  seconds: ["training time", duration],
  power_flow_solves: ["power flows solved", short],
  env_gradients: ["environment gradients", short],
};
const UP = {
  priced: ["cost + priced violations", "$ per day"],
  cost: ["cost", "$ per day"],
  violation: ["violations", "% of node-steps"],
};

function learningCurves(task, state) {
  const methods = task.methods.filter((method) => (task.curves[method.name] || []).length);
  if (!methods.length) return null;
  const plot = chart((width) => (width < 560 ? 340 : 400), (root, width, height) =>
    drawCurves(root, width, height, task, methods.filter((method) => !state.hidden.has(method.name)), state),
    "Learning curves");
  const quantities = Object.entries(UP).map(([key, [label]]) => [key, label]);
  const axes = Object.entries(ACROSS).filter(([key]) => methods.some((method) =>
    task.curves[method.name].some((run) => run[key][run[key].length - 1] > 0)));
  if (!axes.some(([key]) => key === state.across)) state.across = (axes[0] || ["seconds"])[0];
  return section("learning", "Learning",
    "What each method had reached on validation days while it trained. Curves that end early used up their budget sooner.",
    el("div", { class: "controls", id: "curve-controls" },
      segments("down the side", quantities, state.up, (value) => { state.up = value; plot.paint(); }),
      segments("along the bottom", axes.map(([key, [label]]) => [key, label]), state.across,
        (value) => { state.across = value; plot.paint(); })),
    plot, toggles(methods, state.hidden, () => plot.paint()));
}

function drawCurves(root, width, height, task, methods, state) {
  const box = { left: 62, right: width - 16, top: 34, bottom: height - 46 };
  const [across, formatX] = ACROSS[state.across];
  const [name, unit] = UP[state.up];
  const isLog = state.up === "violation";
  const runs = methods.flatMap((method) => task.curves[method.name]);
  const endX = Math.max(...runs.map((run) => run[state.across][run[state.across].length - 1] || 0), 1e-9);
  const x = linear(0, endX, box.left, box.right);
  const values = runs.flatMap((run) => run[state.up]).filter(isNumber);
  const y = isLog ? logarithmic(FLOOR * 0.7, Math.max(1, 1.5 * extent(values)[1]), box.bottom, box.top)
    : linear(...padded(mostOf(values)), box.bottom, box.top);
  axisY(root, y, box, { label: `${name}, ${unit}`, ticks: y.ticks(6), format: (v) => (isLog && v <= FLOOR * 1.01 ? "0" : number(v)) });
  axisX(root, x, box, { label: across, ticks: x.ticks(width < 560 ? 4 : 7), format: formatX });
  root.setAttribute("data-across", state.across);
  const id = "curve-clip";
  root.append(sv("defs", {}, sv("clipPath", { id }, sv("rect", { x: box.left, y: box.top - 4, width: box.right - box.left + 6, height: box.bottom - box.top + 4 }))));
  const layer = sv("g", { "clip-path": `url(#${id})` });
  root.append(layer);
  for (const method of methods) {
    const own = task.curves[method.name];
    const colour = shade(method.colour);
    const points = (run) => run[state.across].map((at, i) => [at, run[state.up][i]]).filter(([, v]) => isNumber(v));
    const trace = (list, attributes) => layer.append(sv("path", { fill: "none", stroke: colour, "stroke-linejoin": "round",
      d: list.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(""), ...attributes }));
    if (own.length > 1) for (const run of own) trace(points(run), { "stroke-width": 1, opacity: 0.3 });
    const middle = own.length > 1 ? medianCurve(own.map(points)) : points(own[0]);
    if (!middle.length) continue;
    trace(middle, { "stroke-width": 2.2, "data-method": method.name });
    const every = Math.max(Math.round(middle.length / 6), 1);
    middle.forEach(([a, b], i) => {
      if (i % every === 0 || i === middle.length - 1) {
        layer.append(sv("g", { transform: `translate(${x(a)},${y(b)})` }, marker(method, 4)));
      }
    });
  }
  hoverCurves(root, box, x, y, task, methods, state, formatX);
}

// The first judgements are left out of the scale where they would flatten the rest.
function mostOf(values) {
  if (values.length < 12) return extent(values);
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[0], sorted[Math.floor(0.92 * (sorted.length - 1))]];
  const top = sorted[sorted.length - 1];
  return top - low > 1.5 * (high - low) && high > low ? [low, high] : [low, top];
}

function at(points, where) {
  if (where < points[0][0]) return null;
  for (let i = 1; i < points.length; i++) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    if (where <= x1) return x1 > x0 ? y0 + ((y1 - y0) * (where - x0)) / (x1 - x0) : y1;
  }
  return points[points.length - 1][1];
}

function medianCurve(curves) {
  const own = curves.filter((points) => points.length);
  if (!own.length) return [];
  // As far as half of the runs have come.
  const ends = own.map((points) => points[points.length - 1][0]).sort((a, b) => b - a);
  const end = ends[Math.floor((ends.length - 1) / 2)];
  const result = [];
  for (let i = 0; i <= 60; i++) {
    const where = (end * i) / 60;
    const values = own.map((points) => at(points, where)).filter(isNumber).sort((a, b) => a - b);
    if (values.length) {
      const half = (values.length - 1) / 2;
      result.push([where, (values[Math.floor(half)] + values[Math.ceil(half)]) / 2]);
    }
  }
  return result;
}

function hoverCurves(root, box, x, y, task, methods, state, formatX) {
  const [, unit] = UP[state.up];
  root.addEventListener("pointermove", (event) => {
    const rect = root.getBoundingClientRect();
    const [px, py] = [event.clientX - rect.left, event.clientY - rect.top];
    let best = null;
    for (const method of methods) {
      for (const run of task.curves[method.name]) {
        run[state.across].forEach((a, i) => {
          const value = run[state.up][i];
          if (!isNumber(value)) return;
          const far = Math.hypot(x(a) - px, y(value) - py);
          if (!best || far < best.far) best = { far, method, run, a, value };
        });
      }
    }
    if (!best || best.far > 40) return hideTip();
    return showTip(event, `${best.method.title}, seed ${best.run.seed}\n${formatX(best.a)}: ${number(best.value)} ${unit}`);
  });
  root.addEventListener("pointerleave", hideTip);
}
