// One button opens all code of a notebook's page, and folds it away again.
"use strict";
const button = document.getElementById("fold-all");
const folds = [...document.querySelectorAll("details.fold")];

function label() {
  button.textContent = folds.every((fold) => fold.open) ? "hide all code" : "show all code";
}

button.hidden = folds.length === 0;
button.addEventListener("click", () => {
  const open = !folds.every((fold) => fold.open);
  for (const fold of folds) fold.open = open;
  label();
});
for (const fold of folds) fold.addEventListener("toggle", label);
label();
