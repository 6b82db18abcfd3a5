// Days out of the ordinary, performance profiles, and who beats whom.

const STRESS_SHOWN = {
  cost_usd_per_day: ["cost, $ per day", (v) => number(v, 0), false],
  node_step_violation_pct: ["node-steps in violation, %", number, true],
};

function stressTable(task, state) {
  if (task.splits.length < 2) return null;
  const holder = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Stress splits, scrolls sideways" });
  const paint = () => holder.replaceChildren(heatTable(task, state.stress));
  paint();
  charts.add(Object.assign(holder, { paint }));
  return section("stress", "Under stress",
    "The same trained policies on test days that are worse than any they were trained on. Darker is dearer, or more often in violation.",
    el("div", { class: "controls" }, segments("show", Object.entries(STRESS_SHOWN).map(([key, [label]]) => [key, label]), state.stress,
      (value) => { state.stress = value; paint(); })),
    holder, Object.keys(task.splitNotes).length > 0 && el("ul", { class: "note plain" },
      Object.entries(task.splitNotes).map(([name, note]) => el("li", {}, el("b", {}, name), `: ${note}`))));
}

function heatTable(task, key) {
  const [label, format, isLog] = STRESS_SHOWN[key];
  const find = (split, method) => (task.tables[split] || []).find((row) => row.method === method);
  const methods = task.methods.filter((method) => task.splits.some((split) => isNumber((find(split, method.name) || {})[key])));
  const ranges = Object.fromEntries(task.splits.map((split) => [split,
    extent(methods.map((method) => (find(split, method.name) || {})[key]).filter(isNumber))]));
  const share = (split, value) => {
    if (isLog) return Math.min(Math.log10(1 + value * 20) / Math.log10(1 + 20 * 30), 1);
    const [low, high] = ranges[split];
    return high > low ? (value - low) / (high - low) : 0;
  };
  const cellOf = (split, method) => {
    const value = (find(split, method.name) || {})[key];
    if (!isNumber(value)) return el("td", { class: "none" }, "–");
    const cellBox = el("td", {}, format(value));
    cellBox.style.background = mix(isDark() ? "#171c23" : "#ffffff", isDark() ? "#a8452e" : "#e8714a", 0.75 * share(split, value));
    return cellBox;
  };
  return el("table", { class: "heat", "aria-label": label },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "method"), task.splits.map((split) => el("th", { scope: "col" }, split)))),
    el("tbody", {}, methods.map((method) => el("tr", {},
      el("td", {}, el("div", { class: "name" }, glyph(method), method.title)), task.splits.map((split) => cellOf(split, method))))));
}

function profiles(task, state) {
  const kinds = Object.keys(task.profiles).filter((key) => Object.keys(task.profiles[key].methods).length);
  if (!kinds.length) return null;
  if (!kinds.includes(state.profile)) state.profile = kinds[0];
  const known = task.methods.filter((method) => kinds.some((kind) => task.profiles[kind].methods[method.name]));
  const plot = chart((width) => (width < 560 ? 340 : 380), (root, width, height) => {
    const profile = task.profiles[state.profile];
    const box = { left: 52, right: width - 16, top: 34, bottom: height - 46 };
    // From where the first line rises.
    const shown = known.map((method) => profile.methods[method.name]).filter(Boolean);
    const first = Math.min(...shown.map((own) => own.share.findIndex((v) => v > own.share[0])).filter((i) => i > 0));
    const floor = profile.thresholds[Number.isFinite(first) ? Math.max(first - 6, 1) : 1];
    const last = profile.thresholds[profile.thresholds.length - 1];
    const x = logarithmic(floor, last, box.left, box.right);
    const y = linear(0, 1, box.bottom, box.top);
    axisY(root, y, box, { label: "share of runs and days, %", ticks: [0, 0.25, 0.5, 0.75, 1], format: (v) => number(100 * v, 0) });
    axisX(root, x, box, { label: profile.axis, ticks: x.ticks(), format: short });
    for (const method of known.filter((each) => profile.methods[each.name] && !state.hiddenProfiles.has(each.name))) {
      const own = profile.methods[method.name];
      const colour = shade(method.colour);
      const line = (values) => values.map((v, i) => `${x(profile.thresholds[i]).toFixed(1)},${y(v).toFixed(1)}`);
      if (own.low.every(isNumber)) {
        root.append(sv("polygon", { points: [...line(own.low), ...line(own.high).reverse()].join(" "), fill: colour, opacity: 0.14 }));
      }
      root.append(sv("polyline", { points: line(own.share).join(" "), fill: "none", stroke: colour, "stroke-width": 2 }));
      const half = own.share.findIndex((v) => v >= 0.5);
      if (half >= 0) root.append(sv("g", { transform: `translate(${x(profile.thresholds[half])},${y(own.share[half])})` }, marker(method, 4.5)));
    }
  }, "Performance profiles");
  return section("profiles", "Performance profiles",
    "Not only means: how often a method does at least this well, over all runs and test days. A line further to the upper left is better; shades are 95 % intervals.",
    kinds.length > 1 && el("div", { class: "controls" }, segments("measured by", kinds.map((key) => [key, task.profiles[key].label]),
      state.profile, (value) => { state.profile = value; plot.paint(); })),
    plot, toggles(known, state.hiddenProfiles, () => plot.paint()));
}

function improvement(task) {
  const { methods: names, values } = task.improvement;
  if (!names || names.length < 2) return null;
  const methods = names.map((name) => methodOf(task, name));
  const holder = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Probability of improvement, scrolls sideways" });
  const paint = () => holder.replaceChildren(el("table", { class: "heat" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "row beats column"), methods.map((method) => el("th", { scope: "col" }, method.title)))),
    el("tbody", {}, methods.map((method, i) => el("tr", {}, el("td", {}, el("div", { class: "name" }, glyph(method), method.title)),
      methods.map((_, j) => {
        const value = (values[i] || [])[j];
        if (i === j || !isNumber(value)) return el("td", { class: "none" }, i === j ? "" : "–");
        const cellBox = el("td", {}, number(100 * value, 0));
        const toward = value >= 0.5 ? (isDark() ? "#2d6ca3" : "#6fb1e4") : (isDark() ? "#a8452e" : "#f0a07f");
        cellBox.style.background = mix(isDark() ? "#171c23" : "#ffffff", toward, Math.abs(value - 0.5) * 1.5);
        return cellBox;
      }))))));
  paint();
  charts.add(Object.assign(holder, { paint }));
  return section("improvement", "Who beats whom",
    `Chance, in percent, that the method of the row has the lower ${task.improvement.label} than the method of the column, on the same test day.`, holder);
}
