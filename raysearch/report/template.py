"""The page around the panels: its HTML, its style, and the script that draws the figures."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p>{summary}</p>
</header>
<nav>
{links}
</nav>
{sections}
</main>
<script>{plotly}</script>
<script type="application/json" id="figures">{figures}</script>
<script>
{script}</script>
</body>
</html>
"""
"""Format string of the page. The values that fill it must be escaped for the place where they stand."""

STYLE = """\
:root {
  --paper: #ffffff;
  --ink: #1c2024;
  --muted: #5d656e;
  --rule: #dfe3e7;
  --shade: #f5f6f8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c;
    --ink: #e4e7ea;
    --muted: #9aa3ad;
    --rule: #31363d;
    --shade: #1d2126;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0;
  background: var(--paper);
  color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%;
}
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .8rem; }
header p { color: var(--muted); margin: 0; max-width: none; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin-top: .9rem; font-size: .875rem; }
nav a { color: var(--muted); text-decoration: none; }
nav a:hover, nav a:focus-visible { color: var(--ink); text-decoration: underline; }
section { margin-top: 2.2rem; padding-top: 1.6rem; border-top: 1px solid var(--rule); }
p { margin: .6rem 0; max-width: 46rem; }
dl { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 0 0 1.4rem; font-variant-numeric: tabular-nums; }
dt { color: var(--muted); font-size: .875rem; }
dd { margin: 0; color: var(--muted); font-size: .875rem; }
dt + dd { color: var(--ink); font-size: 1.7rem; line-height: 1.25; font-weight: 600; }
.wide { overflow-x: auto; margin: .6rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.6rem .35rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { color: var(--muted); font-weight: 500; white-space: nowrap; }
td { white-space: pre-wrap; overflow-wrap: anywhere; }
td:first-child { min-width: 9.5rem; }
td:not(.number):last-child { min-width: 7rem; }
th.number, td.number { text-align: right; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
@media (max-width: 40rem) { table { font-size: .78rem; } th, td { padding-right: .6rem; } }
pre {
  margin: .6rem 0 1.2rem;
  padding: .9rem 1rem;
  max-height: 30rem;
  overflow: auto;
  background: var(--shade);
  border: 1px solid var(--rule);
  border-radius: 6px;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .8rem 1.2rem; }
.grid > div { min-width: 0; }
.legend {
  display: flex;
  flex-wrap: wrap;
  gap: .2rem 1.1rem;
  list-style: none;
  margin: .8rem 0;
  padding: 0;
  font-size: .875rem;
}
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border: 1px solid var(--rule); }
.pictures { margin: 0 0 1.2rem; }
.pictures > div { display: grid; grid-template-columns: repeat(auto-fit, minmax(max(9rem, 20%), 1fr)); gap: .6rem; }
h3 { font-size: .875rem; font-weight: 500; color: var(--muted); margin: 0 0 .3rem; overflow-wrap: anywhere; }
figure { margin: 0; min-width: 0; }
img { display: block; width: 100%; height: auto; border: 1px solid var(--rule); border-radius: 3px; }
img.sharp { image-rendering: pixelated; }
figcaption { font-size: .8rem; color: var(--muted); font-variant-numeric: tabular-nums; }
.code { position: relative; }
.copy {
  position: absolute;
  top: .5rem;
  right: .5rem;
  padding: .15rem .6rem;
  background: var(--paper);
  color: var(--muted);
  border: 1px solid var(--rule);
  border-radius: 5px;
  font: inherit;
  font-size: .8rem;
  cursor: pointer;
}
.copy:hover, .copy:focus-visible { color: var(--ink); }
summary { cursor: pointer; color: var(--muted); margin: .6rem 0; }
@media print { details > :not(summary) { display: block; } pre { max-height: none; } }
"""
"""Style of the page, light or dark according to the reader's system."""

SCRIPT = """\
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const touch = window.matchMedia("(pointer: coarse)").matches;

// Figures have no colors of their own for text and lines: they take those of the page.
function template() {
  const style = getComputedStyle(document.documentElement);
  const [paper, ink, muted, rule] = ["--paper", "--ink", "--muted", "--rule"].map((name) =>
    style.getPropertyValue(name).trim());
  const axis = { gridcolor: rule, linecolor: rule, zerolinecolor: rule, tickcolor: rule };
  return {
    layout: {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: axis,
      yaxis: axis,
      shapedefaults: { line: { color: muted } },
      annotationdefaults: { bgcolor: paper, font: { color: muted } },
      hoverlabel: { bgcolor: paper, bordercolor: muted, font: { color: ink } },
    },
  };
}

// On a touch screen a finger scrolls the page; it does not zoom the figure.
const dragmode = touch ? false : "zoom";
for (const [id, { data, layout }] of Object.entries(figures)) {
  Plotly.newPlot(id, data, { ...layout, template: template(), dragmode }, { responsive: true, displayModeBar: false });
}

for (const button of document.querySelectorAll(".copy")) {
  const pre = button.nextElementSibling;
  const say = (text) => { button.textContent = text; setTimeout(() => { button.textContent = "Copy"; }, 2000); };
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      say("Copied");
    } catch {  // a browser that keeps the clipboard to itself: the text is marked at least
      getSelection().selectAllChildren(pre);
      say(document.execCommand("copy") ? "Copied" : "Press Ctrl+C");
    }
  });
}

dark.addEventListener("change", () => {
  for (const id of Object.keys(figures)) Plotly.relayout(id, { template: template() });
});
"""
"""Script that draws all figures in the colours of the page, and again when these change."""
