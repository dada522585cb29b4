"use strict";
const rows = [...document.querySelectorAll("#cases tbody tr")];
const q = document.getElementById("q");
const none = document.getElementById("none");
const shown = document.getElementById("shown");
let want = "";
function filter() {
  const words = q.value.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const r of rows) {
    const text = r.dataset.text || (r.dataset.text = r.textContent.toLowerCase());
    const hide = (want && !r.dataset.outcomes.split(" ").includes(want)) || !words.every(w => text.includes(w));
    r.hidden = hide;
    if (!hide) n++;
  }
  none.style.display = n ? "none" : "block";
  shown.textContent = n + " of " + rows.length + " cases";
}
q.addEventListener("input", filter);
for (const b of document.querySelectorAll("#bar button")) {
  b.addEventListener("click", () => {
    want = want === b.dataset.want ? "" : b.dataset.want;
    for (const o of document.querySelectorAll("#bar button")) o.setAttribute("aria-pressed", String(want !== "" && o.dataset.want === want));
    filter();
  });
}
if (location.hash.length > 1) q.value = decodeURIComponent(location.hash.slice(1));
filter();
