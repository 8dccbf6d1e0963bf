"""Style and script of the audit's page, for phone, print and the dark."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #4b5563; --line: #d9dee5;
  --paper: #ffffff; --raised: #f5f7fa; --bad: #b42318; --good: #0f766e; --note: #fff7e6;
  --note-line: #d97706; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e9ef; --soft: #a7b0bd; --line: #3a4250;
  --paper: #14181f; --raised: #1d232d; --bad: #ff8a7a; --good: #4fd1c1; --note: #2b2416;
  --note-line: #f0a43a; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 0 auto; padding: 1.2rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.1rem; font-weight: 600; color: var(--soft); margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.verdict { font-size: 1.7rem; line-height: 1.25; font-weight: 700; margin: .1rem 0 .6rem; }
p { margin: .4rem 0; } .small { color: var(--soft); font-size: .9rem; }
.note { border-left: 4px solid var(--note-line); background: var(--note); padding: .5rem .9rem; }
figure { margin: .6rem 0; }
img { max-width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .3rem; }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .7rem; }
.worst a { color: inherit; text-decoration: none; font-size: .9rem; line-height: 1.3; }
.worst a:hover b { text-decoration: underline; }
.worst img { width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; }
.worst b, .worst span { display: block; }
.worst span { color: var(--bad); }
.name { font-weight: 600; }
.key span { white-space: nowrap; margin-right: 1.1rem; }
.key i { display: inline-block; width: 1.3em; height: .8em; margin-right: .35em;
  vertical-align: baseline; border-radius: 2px; }
.tools { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0; }
.tools label { display: flex; flex-direction: column; font-size: .8rem; color: var(--soft);
  flex: 1 1 9rem; }
input, select { font: inherit; color: var(--ink); background: var(--raised);
  border: 1px solid var(--line); border-radius: 6px; padding: .35rem .5rem; width: 100%; }
ol.scans { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
ol.scans > li { border-bottom: 1px solid var(--line); padding: .45rem 0; }
.line { display: grid; grid-template-columns: 1fr 6.5rem 9.5rem; gap: .2rem .8rem;
  align-items: center; }
summary { cursor: pointer; list-style-position: outside; margin-left: 1.1rem; }
.bare { margin-left: 1.1rem; }
summary .line, .bare .line { display: inline-grid; width: 100%; vertical-align: middle; }
.quality { display: flex; align-items: center; gap: .4rem; font-variant-numeric: tabular-nums; }
meter { width: 3.4rem; height: .8rem; }
.doubt { color: var(--bad); font-weight: 600; } .sound { color: var(--good); }
.more { margin: .5rem 0 .4rem 1.1rem; }
dl.parts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr));
  gap: .1rem 1.2rem; font-size: .85rem; margin: .4rem 0; }
dl.parts div { display: flex; justify-content: space-between; gap: .6rem;
  border-bottom: 1px dotted var(--line); }
dl.parts dt { color: var(--soft); } dl.parts dd { margin: 0;
  font-variant-numeric: tabular-nums; }
ul { margin: .4rem 0; padding-left: 1.3rem; }
@media (max-width: 36rem) { body { padding: .8rem .8rem 2rem; } .verdict { font-size: 1.35rem; }
  .line { grid-template-columns: 1fr auto; } .line .name { grid-column: 1 / -1; } }
@media print { :root { --ink: #000; --soft: #333; --line: #bbb; --paper: #fff; --raised: #fff;
  --bad: #9b1c10; --good: #0b5d56; --note: #fff; }
  body { max-width: none; padding: 0; font-size: 11pt; } .tools, .screen { display: none; }
  li img { max-height: 5cm; width: auto; }
  ol.scans > li, figure { break-inside: avoid; } h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

SCRIPT = """
(function () {
  "use strict";
  var list = document.getElementById("scans"), lines = Array.prototype.slice.call(list.children);
  var search = document.getElementById("search"), kind = document.getElementById("kind");
  var order = document.getElementById("order"), count = document.getElementById("count");
  var first = lines.slice();
  function filter() {
    var text = search.value.trim().toLowerCase(), shown = 0;
    lines.forEach(function (line) {
      var fits = line.dataset.name.toLowerCase().indexOf(text) >= 0
        && (!kind.value || line.dataset.doubt === kind.value
            || (kind.value === "*" && line.dataset.doubt));
      line.hidden = !fits;
      if (fits) { shown += 1; }
    });
    count.textContent = shown + " of " + lines.length + " shown";
  }
  function sort() {
    var by = order.value;
    lines = first.slice();
    if (by === "best") { lines.reverse(); }
    if (by === "name") {
      lines.sort(function (a, b) {
        return a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
      });
    }
    var piece = document.createDocumentFragment();
    lines.forEach(function (line) { piece.appendChild(line); });
    list.appendChild(piece);
  }
  search.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  order.addEventListener("change", sort);
  filter();
  // A link of the first screen leads to a scan that is unfolded, whatever the filter.
  Array.prototype.forEach.call(document.querySelectorAll(".worst a"), function (link) {
    link.addEventListener("click", function () {
      var line = document.getElementById(link.getAttribute("href").slice(1));
      var details = line.querySelector("details");
      line.hidden = false;
      if (details) { details.open = true; }
    });
  });
  // What is folded away on the screen is wanted on paper.
  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (part) { part.open = false; });
  });
}());
"""
