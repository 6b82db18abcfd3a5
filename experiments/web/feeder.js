// The feeder's voltages through a day, one method or two side by side.

const LOW = { light: "#1f62b5", dark: "#6fb4ff" };
const HIGH = { light: "#c4401c", dark: "#ff8a5c" };
const MIDDLE = { light: "#eceef1", dark: "#3a424c" };

// Blue below 1, orange above, full at the edge of the scale: safe for any colour vision.
function voltageColour(value, span) {
  const side = isDark() ? "dark" : "light";
  if (!isNumber(value)) return MIDDLE[side];
  const share = Math.min(Math.abs(value - 1) / span, 1);
  return mix(MIDDLE[side], (value < 1 ? LOW : HIGH)[side], share ** 0.85);
}

function feederMap(task, state) {
  const methods = task.methods.filter((method) => task.voltages[method.name]);
  if (!methods.length) return null;
  const names = methods.map((method) => [method.name, method.title]);
  if (!task.voltages[state.method]) state.method = methods[0].name;
  if (!task.voltages[state.against]) state.against = "";
  const views = [mapView(task, state, () => state.method), mapView(task, state, () => state.against)];
  const grid = el("div", { class: "grid2" }, views.map((view) => view.node));
  const slider = el("input", { type: "range", id: "step", min: 0, max: task.steps - 1, step: 1, "aria-label": "Time of day" });
  const shown = el("output", { for: "step", id: "step-time" });
  const play = el("button", { type: "button", class: "main", id: "play" }, "▶ Play");
  const strip = chart(150, (root, width, height, holder) => drawStrip(root, width, height, holder, task, state, views, go), "Highest and lowest voltage through the day");
  let timer = null;

  function go(step) {
    state.step = Math.max(0, Math.min(task.steps - 1, step));
    slider.value = state.step;
    const time = clock(state.step * task.dtHours);
    shown.textContent = time;
    slider.setAttribute("aria-valuetext", time);
    for (const view of views) view.colour();
    for (const line of strip.querySelectorAll(".cursor")) {
      const at = strip.scaleX((state.step + 0.5) * task.dtHours);
      line.setAttribute("x1", at);
      line.setAttribute("x2", at);
    }
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  }

  async function load() {
    views[1].node.hidden = !state.against;
    grid.classList.toggle("grid2", Boolean(state.against));
    await Promise.all(views.map((view) => view.load()));
    strip.paint();
    go(state.step === null ? worstStep(task, state, views[0]) : state.step);
  }

  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => (play.isConnected ? go((state.step + 1) % task.steps) : stop()), 220);
    return undefined;
  });
  const days = task.days.map((day, i) => [i, day.label]);
  const node = section("feeder", "The feeder through a day",
    `Every bus by the voltage of the phase that is furthest from nominal: blue is low, orange is high, a ring marks a bus outside ${task.vmin} to ${task.vmax} p.u.`,
    el("div", { class: "controls", id: "feeder-controls" },
      chooser("method", names, state.method, (value) => { state.method = value; load(); }, "feeder-method"),
      chooser("beside it", [["", "nothing"], ...names], state.against, (value) => { state.against = value; load(); }, "feeder-against"),
      chooser("day", days, state.day, (value) => { state.day = Number(value); load(); }, "feeder-day")),
    el("div", { class: "slide" }, play, slider, shown), grid, strip,
    chart(58, (root, width) => drawVoltageKey(root, width, task), "Colours of the map"),
    el("p", { class: "note" }, [task.grid.hasPlaces ? "Buses are where the feeder’s file puts them. " : "The feeder’s file gives no coordinates; buses are drawn as a tree from the source. ",
      "Thick lines are transformers and regulators, dashed ones switches, the square is the source. Voltages are those of the first seed, by the torch power flow, to 0.2 thousandths p.u."]));
  load();
  return node;
}

function mapView(task, state, which) {
  const { grid } = task;
  const readout = el("p", { class: "readout", "aria-live": "off" });
  const heading = el("h3");
  const numNodes = grid.nodes.length;
  const span = voltageSpan(task);
  let values = null, dots = [], ring = null, label = null;
  const holder = chart((width) => Math.min(Math.max(width * grid.aspect + 30, 240), 520), (root, width, height) => {
    const place = placer(grid, width, height);
    for (const [one, other, kind] of grid.lines) {
      const [x1, y1] = place(one), [x2, y2] = place(other);
      root.append(sv("line", { class: `wire ${kind}`, x1, y1, x2, y2 }));
    }
    const r = width < 460 ? 3.6 : width < 700 ? 4.8 : 6;
    dots = grid.buses.map((bus, i) => {
      const [x, y] = place(i);
      const shape = grid.sources.includes(i) ? sv("rect", { x: x - r * 1.5, y: y - r * 1.5, width: 3 * r, height: 3 * r }) : sv("circle", { cx: x, cy: y, r });
      shape.addEventListener("pointermove", (event) => showTip(event, busText(i)));
      shape.addEventListener("pointerleave", hideTip);
      root.append(shape);
      return shape;
    });
    ring = sv("circle", { r: r + 5, fill: "none", class: "cursor" });
    label = sv("text", { class: "strong halo" });
    root.append(ring, label);
    holder.place = (i) => [...place(i), r, width];
    if (state.step !== null) colour();
  }, "Map of the feeder");

  const offset = (step) => (state.day * task.steps + step) * numNodes;

  function busText(bus) {
    const lines = [`bus ${grid.buses[bus]}`];
    grid.nodeBus.forEach((own, node) => {
      if (own === bus && values) lines.push(`phase ${grid.nodes[node].split(".").pop()}: ${number(values[offset(state.step) + node], 3)} p.u.`);
    });
    if (lines.length === 1) lines.push("not monitored");
    return lines.join("\n");
  }

  function colour() {
    if (!values || !dots.length) return;
    const from = offset(state.step);
    const furthest = new Float32Array(grid.buses.length).fill(NaN);
    let worst = -1, outside = 0;
    const beyond = (v) => Math.max(task.vmin - v, v - task.vmax);
    for (let node = 0; node < numNodes; node++) {
      const v = values[from + node], bus = grid.nodeBus[node];
      if (!Number.isFinite(v)) continue;
      if (!(Math.abs(furthest[bus] - 1) >= Math.abs(v - 1))) furthest[bus] = v;
      if (beyond(v) > 1e-4) outside++;
      if (worst < 0 || beyond(v) > beyond(values[from + worst])) worst = node;
    }
    dots.forEach((dot, bus) => {
      const v = furthest[bus];
      const isOut = Number.isFinite(v) && beyond(v) > 1e-4;
      dot.setAttribute("fill", voltageColour(v, span));
      dot.setAttribute("stroke", isOut ? "var(--ink)" : "var(--wire)");
      dot.setAttribute("stroke-width", isOut ? 2.2 : 0.8);
    });
    describe(worst, outside, from);
  }

  function describe(worst, outside, from) {
    const isKnown = worst >= 0;
    for (const mark of [ring, label]) mark.setAttribute("visibility", isKnown ? "visible" : "hidden");
    if (!isKnown) return readout.replaceChildren("The power flow of this step did not converge.");
    const [x, y, r, width] = holder.place(grid.nodeBus[worst]);
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    label.textContent = `${grid.nodes[worst]}: ${number(values[from + worst], 3)}`;
    const isRight = x > width - 110;
    label.setAttribute("x", isRight ? x - r - 8 : x + r + 8);
    label.setAttribute("y", y < 20 ? y + 18 : y - 8);
    label.setAttribute("text-anchor", isRight ? "end" : "start");
    const v = values[from + worst];
    const kind = v > task.vmax || v < task.vmin ? "worst" : "closest to a limit";
    return readout.replaceChildren(el("b", {}, clock(state.step * task.dtHours)),
      ` · ${kind}: node ${grid.nodes[worst]} at ${number(v, 3)} p.u. · `,
      el("b", {}, `${outside} of ${numNodes}`), " nodes outside");
  }

  async function load() {
    const name = which();
    const method = methodOf(task, name);
    if (!method) {
      values = null;
      return;
    }
    heading.replaceChildren(glyph(method), " ", method.title);
    values = await unpackArray(task.voltages[name]);
    holder.paint();
  }

  return { node: el("div", {}, heading, readout, holder), load, colour, which, values: () => values, offset };
}

// At least twice the band, so that a small excess does not look like a large one.
const voltageSpan = (task) => 1.5 * Math.max(task.vmax - 1, 1 - task.vmin, 0.01);

function placer(grid, width, height) {
  const margin = 26;
  const [w, h] = [width - 2 * margin, height - 2 * margin];
  if (!grid.hasPlaces) return (i) => [margin + grid.places[i][0] * w, margin + grid.places[i][1] * h];
  const scale = Math.min(w, h / grid.aspect);
  const left = (width - scale) / 2, top = (height - scale * grid.aspect) / 2;
  return (i) => [left + grid.places[i][0] * scale, top + (1 - grid.places[i][1]) * scale * grid.aspect];
}

function drawStrip(root, width, height, holder, task, state, views, go) {
  const box = { left: 46, right: width - 22, top: 24, bottom: height - 22 };
  const x = linear(0, 24, box.left, box.right);
  const numNodes = task.grid.nodes.length;
  const drawn = views.filter((view) => view.which() && view.values()).map((view) => {
    const lows = [], highs = [];
    for (let step = 0; step < task.steps; step++) {
      const from = view.offset(step);
      const [low, high] = extent(view.values().subarray(from, from + numNodes));
      lows.push(low);
      highs.push(high);
    }
    return { method: methodOf(task, view.which()), lows, highs };
  });
  if (!drawn.length) return;
  const [low, high] = padded(extent([...drawn.flatMap((d) => [...d.lows, ...d.highs]), task.vmin, task.vmax]), 0.08);
  const y = linear(low, high, box.bottom, box.top);
  axisY(root, y, box, { label: "highest and lowest voltage, p.u.", ticks: [task.vmin, 1, task.vmax], format: (v) => number(v, 2) });
  axisX(root, x, box, { ticks: HOURS, format: (v) => `${v}:00` });
  for (const limit of [task.vmin, task.vmax]) root.append(sv("line", { class: "limit", x1: box.left, x2: box.right, y1: y(limit), y2: y(limit) }));
  drawn.forEach(({ method, lows, highs }, i) => {
    for (const values of [lows, highs]) {
      root.append(sv("path", { d: steps(values, x, y, task.dtHours), fill: "none", stroke: shade(method.colour), "stroke-width": 1.8, "stroke-dasharray": i ? "6 3" : null }));
    }
  });
  const at = x((state.step + 0.5) * task.dtHours);
  root.append(sv("line", { class: "cursor", x1: at, x2: at, y1: box.top, y2: box.bottom }));
  holder.scaleX = x;
  root.addEventListener("pointerdown", (event) => {
    const inside = event.clientX - root.getBoundingClientRect().left;
    go(Math.floor((((inside - box.left) / (box.right - box.left)) * 24) / task.dtHours));
  });
}

// The step at which the first map's voltages are furthest beyond a limit.
function worstStep(task, state, view) {
  let best = 0, most = -Infinity;
  for (let step = 0; step < task.steps; step++) {
    const from = view.offset(step);
    const [low, high] = extent(view.values().subarray(from, from + task.grid.nodes.length));
    const beyond = Math.max(task.vmin - low, high - task.vmax);
    if (beyond > most) [best, most] = [step, beyond];
  }
  return best;
}

// A step holds from its start to its end.
function steps(values, x, y, dtHours) {
  let path = "", isDown = false;
  values.forEach((value, i) => {
    if (!isNumber(value)) {
      isDown = false;
      return;
    }
    path += `${isDown ? "L" : "M"}${x(i * dtHours).toFixed(1)},${y(value).toFixed(1)}H${x((i + 1) * dtHours).toFixed(1)}`;
    isDown = true;
  });
  return path;
}

function drawVoltageKey(root, width, task) {
  const span = voltageSpan(task);
  const box = { left: 46, right: Math.min(width - 12, 460) };
  const x = linear(1 - span, 1 + span, box.left, box.right);
  const count = 48;
  for (let i = 0; i < count; i++) {
    const v = 1 - span + (2 * span * (i + 0.5)) / count;
    root.append(sv("rect", { x: box.left + (i * (box.right - box.left)) / count, y: 8, width: (box.right - box.left) / count + 0.6, height: 14, fill: voltageColour(v, span) }));
  }
  for (const limit of [task.vmin, task.vmax]) root.append(sv("line", { class: "cursor", x1: x(limit), x2: x(limit), y1: 4, y2: 26 }));
  for (const [v, text] of [[task.vmin, `${task.vmin} limit`], [1, "1.0"], [task.vmax, `${task.vmax} limit`]]) {
    root.append(sv("text", { x: x(v), y: 41, "text-anchor": "middle" }, text));
  }
}
