// What was compared, on what, and the answer in short.

const FAMILIES = {
  gradient: "gradient-based learning",
  "model-free": "model-free learning",
  control: "control and rules",
  reference: "reference",
};

function overview(task, data) {
  const facts = data.facts;
  const agents = number(task.agents, 0);
  return el("section", { class: "hero", id: "overview" },
    el("h1", {}, `${task.title}: ${data.methods.length} methods compared`),
    el("p", { class: "lede" },
      `Every ${Math.round(task.dtHours * 60)} minutes each of ${agents} agents (${task.mix}) on the feeder `
      + `${task.feeder} decides how much power to draw or feed in. A good method is cheap and keeps every `
      + `voltage between ${task.vmin} and ${task.vmax} per unit (p.u.). Each agent sees only its own device, its own `
      + `terminal’s voltage and the public price; methods marked otherwise see more.`),
    el("dl", { class: "facts" },
      bestFact(task), bindsFact(task), solvableFact(task),
      fact("Days judged", `${facts.num_days} days of split “${task.splits[0]}”`, "no method was trained on them"),
      fact("Training budget for each method", data.budget, `${data.seeds} ${data.seeds === 1 ? "seed" : "seeds"}`),
      fact("Hardware", facts.cpu || "unknown", [facts.cores && `${facts.cores} cores`, facts.gpu].filter(Boolean).join(", ")),
      fact("Software", `gradmap ${facts.gradmap || "?"}`, `torch ${facts.torch || "?"}`)),
    failures(task));
}

function fact(name, value, more, kind) {
  return el("div", { class: `fact ${kind || ""}` },
    el("dt", {}, name), el("dd", { class: kind && kind.includes("best") ? "big" : null }, value, more && el("small", {}, more)));
}

const rowOf = (task, method) => (task.tables[task.splits[0]] || []).find((row) => row.method === method);

const QUIET = "among those with fewer than a tenth of selfish’s violations";

function bestFact(task) {
  const name = "Cheapest learned, decentralised method";
  if (!task.best) return fact(name, "–", `none ${QUIET}`, "wide best");
  const row = rowOf(task, task.best.method);
  const first = [task.best.method, ...task.best.tied];
  const titles = task.methods.filter((method) => first.includes(method.name)).map((method) => method.title);
  const tie = titles.length > 1 ? ` Tied: on the same days the interval of their difference holds zero.` : "";
  return fact(name, `${titles.join(" and ")}: ${money(row.cost_usd_per_day)} a day`,
    `${QUIET}.${tie} ${gapSentence(row)}`, "wide best");
}

function gapSentence(row) {
  const [low, high] = [row.optimality_gap_pct, row.optimality_gap_high_pct];
  if (isNumber(low) && isNumber(high)) {
    return `Between ${number(low)} % (to perfect foresight) and ${number(high)} % (to a lower bound) above the optimum.`;
  }
  return isNumber(low) ? `${number(low)} % above perfect foresight.` : "";
}

function verdict(good, text) {
  return el("span", { class: `badge ${good ? "good" : "bad"}` }, text);
}

function bindsFact(task) {
  const { binds, selfish_node_step_violation_pct: share } = task.calibration;
  const value = binds === null ? "unknown" : verdict(binds, binds ? "yes, limits bind" : "no");
  return fact("Do the limits matter?", value, binds === null ? "selfish devices were not judged"
    : `selfish devices violate at ${number(share)} % of node-steps`);
}

function solvableFact(task) {
  const { is_solvable: solvable, perfect_foresight_node_step_violation_pct: share } = task.calibration;
  const value = solvable === null ? "unknown" : verdict(solvable, solvable ? "yes, solvable" : "not shown");
  return fact("Can they be kept?", value, solvable === null ? "perfect foresight was not judged"
    : `perfect foresight violates at ${number(share)} % of node-steps`);
}

function failures(task) {
  const lines = task.methods.flatMap((method) => {
    const seeds = {};
    for (const { seed, status } of method.unfinished) (seeds[status] ||= []).push(seed);
    return Object.entries(seeds).map(([status, own]) =>
      el("li", {}, el("b", {}, `${method.title}, seed${own.length > 1 ? "s" : ""} ${own.join(", ")}: `), status));
  });
  if (!lines.length) return null;
  return el("div", { class: "fact" }, el("h3", {}, "Runs that are not done"), el("ul", { class: "plain" }, lines));
}
