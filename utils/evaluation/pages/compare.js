// The index's two choices: the figures of two runs beside each other, and what differs in their settings.
// The choice is kept in the address: index.html#a=one&b=other.
"use strict";
const runs = JSON.parse(document.getElementById("runs").textContent);
const choices = ["a", "b"].map((id) => document.getElementById(id));

function add(parent, tag, text = "", kind = "") {
  const child = parent.appendChild(document.createElement(tag));
  child.textContent = text;
  if (kind) child.className = kind;
  return child;
}

function warnings(one, other) {
  const lines = [];
  const [here, there] = [one, other].map((run) => run.settings["data hash"]);
  if (!here || !there) lines.push("It is not known whether these runs read the same data: their scores may not be comparable.");
  else if (here !== there) {
    lines.push(`These runs read different data (${one.settings.data} and ${other.settings.data}): their scores are not comparable.`);
  }
  for (const task of Object.keys(one.scores)) {
    const [left, right] = [one, other].map((run) => run.scores[task]?.split);
    if (right && left !== right) lines.push(`${task} is scored on ${left} in ${one.name}, on ${right} in ${other.name}: not comparable.`);
  }
  return lines;
}

// Rows of group (the run or a final recipe), setting, and both values.
function differences(one, other) {
  const rows = [];
  const compare = (group, left, right) => {
    for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
      if (left[key] !== right[key]) rows.push([group, key, left[key], right[key]]);
    }
  };
  compare("run", one.settings, other.settings);
  for (const recipe of new Set([...Object.keys(one.recipes), ...Object.keys(other.recipes)])) {
    const [left, right] = [one.recipes[recipe], other.recipes[recipe]];
    if (left && right) compare(recipe, left, right);
    else compare(recipe, { "final training": left ? "yes" : "no" }, { "final training": right ? "yes" : "no" });
  }
  return rows;
}

function showFigures(pair) {
  const place = document.getElementById("figures");
  place.replaceChildren();
  for (const task of new Set(pair.flatMap((run) => [...Object.keys(run.scores), ...Object.keys(run.figures)]))) {
    for (const run of pair) {
      const figure = add(place, "figure");
      const score = run.scores[task];
      add(figure, "figcaption", `${run.name} · ${task}` + (score ? ` · F1 ${score.f1} on ${score.split}` : ""));
      if (!run.figures[task]) add(figure, "p", "no figure", "note");
      else {
        const link = add(figure, "a");
        const image = add(link, "img");
        image.alt = `F1 by language, ${task}, run ${run.name}`;
        link.href = image.src = run.figures[task];
      }
    }
  }
}

function showDifferences(pair) {
  const place = document.getElementById("differences");
  const rows = differences(...pair);
  place.replaceChildren();
  if (!rows.length) return void add(place, "p", "Nothing: profile, overrides, data and final recipes are the same.", "note");
  const table = add(place, "table");
  const head = add(add(table, "thead"), "tr");
  for (const text of ["setting", pair[0].name, pair[1].name]) add(head, "th", text, "text");
  const body = add(table, "tbody");
  let last = "";
  for (const [group, ...cells] of rows) {
    if (group !== last) add(add(body, "tr", "", "group"), "th", group).colSpan = 3;
    const row = add(body, "tr");
    for (const cell of cells) add(row, "td", cell || "–", "lines");
    last = group;
  }
}

function show() {
  const pair = choices.map((choice) => runs.find((run) => run.name === choice.value));
  const warning = document.getElementById("warning");
  warning.replaceChildren();
  for (const line of warnings(...pair)) add(warning, "div", line);
  warning.hidden = !warning.childElementCount;
  showFigures(pair);
  showDifferences(pair);
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const choice of choices) {
    if (runs.some((run) => run.name === wanted.get(choice.id))) choice.value = wanted.get(choice.id);
  }
  show();
}

for (const choice of choices) {
  choice.addEventListener("change", () => {
    history.replaceState(null, "", "#" + new URLSearchParams(choices.map((each) => [each.id, each.value])));
    show();
  });
}
addEventListener("hashchange", readAddress);
readAddress();
