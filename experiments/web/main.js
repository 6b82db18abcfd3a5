// Puts the page together, and again when the task or the theme changes.

const data = JSON.parse(document.getElementById("data").textContent);

const state = {
  sort: { key: null, down: false }, families: new Set(), hidden: new Set(), hiddenProfiles: new Set(),
  across: "seconds", up: "priced", stress: "node_step_violation_pct", profile: null,
  method: "selfish", against: "gradmap", day: 0, step: null,
  priced: "gradmap", side: "over",
  agentMethod: "gradmap", agentAgainst: "selfish", agent: 0, agentDay: 0,
};

function reproduction(task) {
  const { facts } = data;
  return section("reproduce", "Reproduce it", "The commands, and the whole configuration.",
    el("pre", {}, el("code", {}, data.commands.join("\n"))),
    el("details", {}, el("summary", {}, "Configuration of this comparison (YAML)"), el("pre", {}, el("code", {}, data.config))),
    el("details", {}, el("summary", {}, "What the figures mean"), el("ul", { class: "plain note" },
      Object.entries(data.quantities).map(([name, meaning]) => el("li", {}, el("code", {}, name), `: ${meaning}`)))),
    el("p", { class: "note" }, `gradmap ${facts.gradmap || "?"}, torch ${facts.torch || "?"}, ${facts.cpu || "unknown processor"}. `
      + "This file holds all its data and asks nothing of any network."));
}

function render(index) {
  const task = data.tasks[index];
  hideTip();
  charts.clear();
  const parts = [
    overview(task, data), resultsTable(task, state), scatter(task), learningCurves(task, state), stressTable(task, state),
    profiles(task, state), improvement(task), feederMap(task, state), pricesMap(task, state), agentDay(task, state), reproduction(task),
  ].filter(Boolean);
  document.getElementById("report").replaceChildren(...parts);
  const links = parts.filter((part) => part.id !== "overview").map((part) =>
    el("li", {}, el("a", { href: `#${part.id}` }, part.querySelector("h2").textContent)));
  document.getElementById("nav").replaceChildren(...links);
}

function repaint() {
  for (const each of charts) each.paint();
  // Marks beside names are drawn once; only their colour follows the theme.
  const named = (name) => data.methods.find((each) => each.name === name);
  for (const svg of document.querySelectorAll("[data-glyph]")) svg.replaceWith(glyph(named(svg.dataset.glyph)));
  for (const svg of document.querySelectorAll("[data-dash]")) svg.replaceWith(dash(named(svg.dataset.owner), Number(svg.dataset.dash)));
}

const THEMES = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");
themeButton.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  themeButton.textContent = `Theme: ${next}`;
  repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
matchMedia("print").addEventListener("change", repaint);

const taskSelect = document.getElementById("task");
taskSelect.replaceChildren(...data.tasks.map((task, i) => el("option", { value: i }, task.name)));
document.getElementById("task-box").hidden = data.tasks.length < 2;
taskSelect.addEventListener("change", () => render(Number(taskSelect.value)));

if (data.tasks.length) render(0);
document.documentElement.dataset.ready = "yes";
