// Cost against violation: further down is cheaper, further left is safer.

const FLOOR = 1e-3;
const NARROW = 560;

function scatter(task) {
  const rows = (task.tables[task.splits[0]] || []).filter((row) => isNumber(row.cost_usd_per_day) && isNumber(row.node_step_violation_pct));
  if (!rows.length) return null;
  const plot = chart((width) => (width < 560 ? 420 : 460), (root, width, height) => {
    const box = { left: 62, right: width - 14, top: 34, bottom: height - 46 };
    const top = costTop(rows);
    const lows = rows.map((row) => Math.min(row.cost_usd_per_day_low ?? Infinity, row.cost_usd_per_day));
    const [low, high] = padded([Math.min(...lows), top], 0.08);
    const x = logarithmic(FLOOR * 0.6, 100, box.left, box.right);
    const y = linear(low, high, box.bottom, box.top);
    axisY(root, y, box, { label: "cost, $ per day", ticks: y.ticks(6), format: (v) => number(v, 0) });
    axisX(root, x, box, { label: "node-steps outside the voltage band, %", ticks: [FLOOR, 0.01, 0.1, 1, 10, 100],
      format: (v) => (v === FLOOR ? "0" : String(v)) });
    root.append(sv("line", { class: "limit", x1: x(0.05), x2: x(0.05), y1: box.top, y2: box.bottom }),
      sv("text", { x: x(0.05) + 5, y: box.top + 11 }, "0.05 %"));
    // Marks first, so that no label comes to lie on one.
    const placed = rows.map((row) => ({ x: x(Math.max(row.node_step_violation_pct, FLOOR)) - 7, w: 14,
      y: y(Math.min(row.cost_usd_per_day, top)) + 4 }));
    const labels = [];
    const last = (row) => (row.method === "gradmap" ? 1 : 0);
    for (const row of [...rows].sort((one, other) => last(one) - last(other))) drawPoint(root, task, row, { x, y, top, box, placed, labels, width });
    for (const label of labels) root.append(label);
  }, "Cost against violations of every method");
  return section("tradeoff", "Cost and violations",
    "Each mark is a method on the test days: lower is cheaper, further left is safer. Whiskers are 95 % intervals. "
    + "The best corner is at the bottom left.", plot,
    el("p", { class: "legend" }, rows.map((row) => methodOf(task, row.method)).map((method) => el("span", {}, glyph(method), ` ${method.title}`))));
}

// Doing nothing leaves houses cold, and would squeeze all others.
function costTop(rows) {
  const costs = rows.filter((row) => row.method !== "idle").map((row) => row.cost_usd_per_day);
  if (!costs.length) return Math.max(...rows.map((row) => row.cost_usd_per_day));
  const [low, high] = extent(costs);
  return high + 0.1 * Math.max(high - low, 1);
}

function drawPoint(root, task, row, { x, y, top, box, placed, labels, width }) {
  const method = methodOf(task, row.method);
  const isOff = row.cost_usd_per_day > top;
  const at = [x(Math.max(row.node_step_violation_pct, FLOOR)), y(Math.min(row.cost_usd_per_day, top))];
  const colour = shade(method.colour);
  const bar = (x1, x2, y1, y2) => root.append(sv("line", { x1, x2, y1, y2, stroke: colour, "stroke-width": 1.4, opacity: 0.75 }));
  if (isNumber(row.node_step_violation_pct_low)) {
    bar(x(Math.max(row.node_step_violation_pct_low, FLOOR)), x(Math.max(row.node_step_violation_pct_high, FLOOR)), at[1], at[1]);
  }
  if (isNumber(row.cost_usd_per_day_low) && !isOff) {
    bar(at[0], at[0], y(row.cost_usd_per_day_low), Math.max(y(row.cost_usd_per_day_high), box.top));
  }
  const group = sv("g", { transform: `translate(${at[0]},${at[1]})` }, marker(method, 6.5));
  const text = `${method.title}\n${money(row.cost_usd_per_day)} a day\n${number(row.node_step_violation_pct)} % of node-steps in violation`;
  group.addEventListener("pointermove", (event) => showTip(event, text));
  group.addEventListener("pointerleave", hideTip);
  root.append(group);
  const name = isOff ? `${method.title} (${money(row.cost_usd_per_day)}) ↑` : method.title;
  const spot = freeSpot(at, textWidth(name) + 3, box, width, placed);
  // A narrow plot has a legend below instead.
  if (spot.isFar && width < NARROW) return;
  placed.push(spot);
  const end = spot.x + spot.w < at[0] ? spot.x + spot.w : Math.max(spot.x, Math.min(at[0], spot.x + spot.w));
  if (spot.isFar) labels.push(sv("line", { class: "axis", x1: at[0], y1: at[1], x2: end, y2: spot.y - 4 }));
  labels.push(sv("text", { class: "halo", x: spot.x, y: spot.y }, name));
}

// Where a label of this width covers no mark and no other label, as near as can be.
function freeSpot([x, y], w, box, width, placed) {
  const spots = [];
  for (let step = 0; step < 9; step++) {
    const off = step * 15;
    for (const dy of step ? [-off, off] : [0]) {
      for (const left of [x + 11, x - 11 - w]) spots.push({ x: left, y: y + 4 + dy, w, isFar: step > 1 });
    }
    if (step) for (const dy of [-off, off]) spots.push({ x: x - w / 2, y: y + 4 + dy, w, isFar: step > 1 });
  }
  const fits = (s) => s.x >= box.left && s.x + w <= width - 2 && s.y >= box.top + 4 && s.y <= box.bottom - 3
    && placed.every((p) => s.x + w < p.x || p.x + p.w < s.x || Math.abs(s.y - p.y) > 13);
  return spots.find(fits) || spots[0];
}
