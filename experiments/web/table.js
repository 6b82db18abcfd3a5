// The results: sortable, filtered by family, downloadable.

const COLUMNS = [
  { key: "title", label: "method" },
  { key: "cost_usd_per_day", label: "cost, $ per day", interval: true, digits: 0 },
  { key: "optimality_gap_pct", label: "gap to the optimum, %", gap: true },
  { key: "node_step_violation_pct", label: "node-steps in violation, %", interval: true },
  { key: "opendss_node_step_violation_pct", label: "in violation by OpenDSS, %" },
  { key: "priced_cost_usd_per_day", label: "cost with violations priced, $ per day", interval: true, digits: 0 },
  { key: "train_seconds", label: "training time", format: duration },
  { key: "env_gradients", label: "environment gradients", format: short },
  { key: "power_flow_solves", label: "power flows in training", format: short },
  { key: "violation_max_pu", label: "largest violation, p.u." },
  { key: "discomfort_kh", label: "discomfort, K h" },
  { key: "tap_operations_per_day", label: "tap moves per day", digits: 0 },
];

function resultsTable(task, state) {
  const families = [...new Set(task.methods.map((method) => method.family))];
  const body = el("tbody");
  const heads = new Map();
  const rows = task.tables[task.splits[0]] || [];
  const shown = COLUMNS.filter((column) => column.key === "title" || rows.some((row) => isNumber(row[column.key])));
  const header = el("tr", {}, shown.map((column) => {
    const arrow = el("span", { class: "arrow", "aria-hidden": "true" });
    const button = el("button", { type: "button", onclick: () => sortBy(column) }, column.label, " ", arrow);
    const head = el("th", { scope: "col", "data-key": column.key }, button);
    heads.set(column.key, { head, arrow });
    return head;
  }));

  function sortBy(column) {
    const { sort } = state;
    state.sort = { key: column.key, down: sort.key === column.key ? !sort.down : false };
    paint();
  }

  function paint() {
    const { key, down } = state.sort;
    for (const [name, { head, arrow }] of heads) {
      arrow.textContent = name === key ? (down ? "▼" : "▲") : "";
      if (name === key) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const kept = rows.filter((row) => !state.families.has(methodOf(task, row.method).family));
    if (key) kept.sort((one, other) => compare(one[key], other[key], down));
    body.replaceChildren(...kept.map((row) => tableRow(task, row, shown)));
  }

  const chips = el("div", { class: "chips", role: "group", "aria-label": "Families shown" }, families.map((family) => {
    const button = el("button", { type: "button", "aria-pressed": "true", "data-family": family }, FAMILIES[family] || family);
    button.setAttribute("aria-pressed", String(!state.families.has(family)));
    button.addEventListener("click", () => {
      if (!state.families.delete(family)) state.families.add(family);
      button.setAttribute("aria-pressed", String(!state.families.has(family)));
      paint();
    });
    return button;
  }));
  const download = el("button", { type: "button", id: "download", class: "push", onclick: () => saveCsv(task, rows) }, "Download CSV");
  paint();
  return section("results", "Results",
    "Means over the test days, 95 % intervals below each; over several seeds the interquartile mean. A cost below zero is an income. Click a heading to sort.",
    el("div", { class: "controls" }, families.length > 1 && chips, download),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Results, scrolls sideways" },
      el("table", { id: "results-table" }, el("thead", {}, header), body)),
    el("p", { class: "note" }, "The gap is how much dearer a method is than the optimum: at least the first figure (against perfect foresight, "
      + "the best solution known), at most the second (against a lower bound on any solution). "
      + "* marks more than 0.05 % of node-steps in violation: a gap bought with violations is no gap."));
}

const methodOf = (task, name) => task.methods.find((method) => method.name === name);

// Rows without a value stay last whichever way the table is sorted.
function compare(one, other, down) {
  const missing = [one, other].map((value) => value === null || value === undefined);
  if (missing[0] || missing[1]) return missing[0] - missing[1];
  const order = typeof one === "string" ? one.localeCompare(other) : one - other;
  return down ? -order : order;
}

function tableRow(task, row, columns) {
  const method = methodOf(task, row.method);
  const name = el("td", {}, el("div", { class: "name" }, glyph(method), el("span", {}, method.title)),
    el("span", { class: "badge", title: method.summary }, FAMILIES[method.family] || method.family),
    !method.decentralised && [" ", el("span", { class: "badge" }, "centralised")]);
  if (!isNumber(row.cost_usd_per_day)) {
    return el("tr", { class: "failed", "data-method": row.method }, name,
      el("td", { class: "status", colspan: columns.length - 1 }, row.status || "no figures"));
  }
  return el("tr", { "data-method": row.method }, name, columns.slice(1).map((column) => cell(row, column)));
}

function cell(row, column) {
  const value = row[column.key];
  if (!isNumber(value)) return el("td", { class: "none" }, "–");
  const format = column.format || ((x) => number(x, column.digits));
  if (column.gap) {
    const high = row.optimality_gap_high_pct;
    const star = row.node_step_violation_pct > 0.05 ? " *" : "";
    return el("td", {}, number(value) + star, isNumber(high) && el("small", {}, `to ${number(high)}`));
  }
  const [low, high] = [row[`${column.key}_low`], row[`${column.key}_high`]];
  const interval = column.interval && isNumber(low) && isNumber(high);
  return el("td", {}, format(value), interval && el("small", {}, `${format(low)} to ${format(high)}`));
}

function saveCsv(task, rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const quote = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
  const text = lines.map((line) => line.map(quote).join(",")).join("\n") + "\n";
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${task.name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
