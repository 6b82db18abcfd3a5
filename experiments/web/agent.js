// One agent's day: what it paid, felt, held and did, under one method or two.

const KINDS = { battery: "battery", heat_pump: "heat pump", generator: "generator" };
const RANK = { worst: "where the voltage moves most", median: "where it moves as is usual" };

function agentDay(task, state) {
  const { traces } = task;
  const methods = task.methods.filter((method) => traces.methods[method.name]);
  if (!methods.length || !traces.agents.length) return null;
  const names = methods.map((method) => [method.name, method.title]);
  if (!traces.methods[state.agentMethod]) state.agentMethod = methods[0].name;
  if (!traces.methods[state.agentAgainst]) state.agentAgainst = "";
  if (!traces.agents[state.agent]) state.agent = 0;
  const heading = el("p", { class: "readout", id: "agent-heading" });
  const panels = [
    ["price", pricePanel], ["voltage", voltagePanel], ["state", statePanel], ["power", powerPanel],
    ...(methods.every((method) => traces.methods[method.name].reactive) ? [["reactive", reactivePanel]] : []), ["site", sitePanel],
  ].map(([name, draw]) => {
    const box = chart(name === "price" || name === "site" ? 120 : 150, (root, width, height) => {
      draw(frame(root, width, height, name === "site"), task, state, chosen());
    }, `${name} through the day`);
    box.dataset.panel = name;
    return box;
  });
  const chosen = () => [state.agentMethod, state.agentAgainst].filter(Boolean).map((name) => methodOf(task, name));
  const legend = el("p", { class: "readout" });

  function paint() {
    const agent = traces.agents[state.agent];
    heading.replaceChildren(el("b", {}, `${agent.name}`), ` is a ${KINDS[agent.kind] || agent.kind} at bus ${agent.bus}, ${RANK[agent.rank] || agent.rank}.`);
    legend.replaceChildren(...chosen().flatMap((method, i) => [dash(method, i), ` ${method.title}   `]));
    for (const panel of panels) panel.paint();
  }

  const agents = traces.agents.map((agent, i) => [i, `${KINDS[agent.kind] || agent.kind}, bus ${agent.bus} (${agent.rank})`]);
  const node = section("agent", "One agent’s day",
    "What a single device saw and did, step by step: the price, the voltage at its own terminal, its own state, and the power it drew or fed in.",
    el("div", { class: "controls", id: "agent-controls" },
      chooser("method", names, state.agentMethod, (value) => { state.agentMethod = value; paint(); }, "agent-method"),
      chooser("compare with", [["", "nothing"], ...names], state.agentAgainst, (value) => { state.agentAgainst = value; paint(); }, "agent-against"),
      chooser("agent", agents, state.agent, (value) => { state.agent = Number(value); paint(); }, "agent-agent"),
      chooser("day", task.days.map((day, i) => [i, day.label]), state.agentDay, (value) => { state.agentDay = Number(value); paint(); }, "agent-day")),
    heading, legend, panels);
  paint();
  return node;
}

function dash(method, i) {
  return sv("svg", { width: 30, height: 10, "aria-hidden": "true", "data-dash": i, "data-owner": method.name },
    sv("line", { x1: 1, x2: 29, y1: 5, y2: 5, stroke: shade(method.colour), "stroke-width": 2.4, "stroke-dasharray": i ? "6 3" : null }));
}

function frame(root, width, height, isLast) {
  const box = { left: 52, right: width - 22, top: 26, bottom: height - (isLast ? 24 : 8) };
  return { root, box, x: linear(0, 24, box.left, box.right), isLast };
}

function panel({ root, box, x, isLast }, task, { label, domain, ticks, format, lines, before }) {
  const y = linear(...domain, box.bottom, box.top);
  axisY(root, y, box, { label, ticks: ticks || y.ticks(4), format });
  for (const hour of HOURS) root.append(sv("line", { class: "gridline", x1: x(hour), x2: x(hour), y1: box.top, y2: box.bottom }));
  if (isLast) axisX(root, x, box, { ticks: HOURS, format: (v) => `${v}:00` });
  if (before) before(y);
  for (const { values, colour, dashed, thin } of lines) {
    root.append(sv("path", { d: steps(values, x, y, task.dtHours), fill: "none", stroke: colour, "stroke-width": thin ? 1.4 : 2.1, "stroke-dasharray": dashed ? "6 3" : null }));
  }
  root.addEventListener("pointermove", (event) => {
    const inside = event.clientX - root.getBoundingClientRect().left;
    const step = Math.floor((((inside - box.left) / (box.right - box.left)) * 24) / task.dtHours);
    if (step < 0 || step >= task.steps) return hideTip();
    const text = lines.map((line) => `${line.name}: ${number(line.values[step], 3)}`).join("\n");
    return showTip(event, `${clock(step * task.dtHours)}\n${text}`);
  });
  root.addEventListener("pointerleave", hideTip);
}

function curvesOf(task, state, methods, key) {
  return methods.map((method, i) => ({
    values: task.traces.methods[method.name][key][state.agentDay][state.agent],
    colour: shade(method.colour), dashed: i > 0, name: method.title,
  }));
}

const neutral = () => (isDark() ? "#c9d1da" : "#3b434c");

function pricePanel(parts, task, state) {
  const values = task.traces.tariff[state.agentDay];
  panel(parts, task, { label: "price, cents per kWh", domain: padded(extent(values), 0.12), format: (v) => number(v),
    lines: [{ values, colour: neutral(), name: "price" }] });
}

function voltagePanel(parts, task, state, methods) {
  const lines = curvesOf(task, state, methods, "voltage");
  const domain = padded(extent([...lines.flatMap((line) => line.values), task.vmin, task.vmax]), 0.08);
  panel(parts, task, { label: "voltage at its terminal, p.u.", domain, ticks: [task.vmin, 1, task.vmax], format: (v) => number(v, 2), lines,
    before: (y) => {
      for (const limit of [task.vmin, task.vmax]) {
        parts.root.append(sv("line", { class: "limit", x1: parts.box.left, x2: parts.box.right, y1: y(limit), y2: y(limit) }));
      }
    } });
}

function statePanel(parts, task, state, methods) {
  const agent = task.traces.agents[state.agent];
  const lines = curvesOf(task, state, methods, "state");
  const band = agent.comfort;
  const domain = agent.kind === "battery" ? [0, 100] : padded(extent([...lines.flatMap((line) => line.values), ...(band || [])]), 0.1);
  panel(parts, task, { label: agent.unit, domain, format: (v) => number(v, 0), lines,
    before: (y) => {
      if (!band) return;
      const { root, box } = parts;
      root.append(sv("rect", { x: box.left, width: box.right - box.left, y: y(band[1]), height: y(band[0]) - y(band[1]), fill: "var(--good)", opacity: 0.12 }),
        sv("text", { x: box.right - 5, y: y(band[1]) + 13, "text-anchor": "end" }, "comfort band"));
    } });
}

function powerPanel(parts, task, state, methods) {
  const lines = curvesOf(task, state, methods, "power");
  const domain = padded(extent([...lines.flatMap((line) => line.values), 0]), 0.1);
  panel(parts, task, { label: "power drawn (+) or fed in (−), kW", domain, format: (v) => number(v, 0), lines,
    before: (y) => parts.root.append(sv("line", { class: "axis", x1: parts.box.left, x2: parts.box.right, y1: y(0), y2: y(0) })) });
}

function reactivePanel(parts, task, state, methods) {
  const lines = curvesOf(task, state, methods, "reactive");
  const domain = padded(extent([...lines.flatMap((line) => line.values), 0]), 0.1);
  panel(parts, task, { label: "reactive power drawn (+) or fed in (−), kvar", domain, format: (v) => number(v, 0), lines,
    before: (y) => parts.root.append(sv("line", { class: "axis", x1: parts.box.left, x2: parts.box.right, y1: y(0), y2: y(0) })) });
}

function sitePanel(parts, task, state) {
  const [load, sun] = [task.traces.load[state.agentDay][state.agent], task.traces.sun[state.agentDay][state.agent]];
  const colours = [neutral(), isDark() ? "#f0c25a" : "#b87a00"];
  panel(parts, task, { label: "other load and sun there, kW", domain: padded([0, extent([...load, ...sun])[1]], 0.06), format: (v) => number(v, 0),
    lines: [{ values: load, colour: colours[0], name: "load" }, { values: sun, colour: colours[1], name: "sun", dashed: true }] });
}
