"""How the page of an outcome looks: in light and in dark, wide and on a telephone."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --ink: #1c2024;
  --quiet: #5b6570; --line: #d9dee4; --better: #0a7d4f; --worse: #b3341f;
  --none: #5b6570; --warn: #8a5a00; --arm0: #66707c; --arm1: #0063b2; --arm2: #b34d00;
  --arm3: #00755a; --arm4: #96498a; --arm5: #7d6a00; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --card: #1d2125; --ink: #e8eaed; --quiet: #a3adb8;
    --line: #363d45; --better: #4cc38a; --worse: #ff8f78; --none: #a3adb8;
    --warn: #f0b95a; --arm0: #a3adb8; --arm1: #62b1f6; --arm2: #ff9c57;
    --arm3: #45cfa8; --arm4: #e29ad4; --arm5: #d9c24a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 20px 60px;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 1.15rem; margin: 0 0 8px; }
h3 { font-size: 1rem; margin: 16px 0 4px; }
p { margin: 4px 0; }
ul { margin: 0; padding-left: 1.2em; }
li { margin: 4px 0; }
section { margin-top: 28px; }
.quiet, figcaption { color: var(--quiet); font-size: 0.9rem; }
.verdict, .caution { background: var(--card); border-left: 6px solid var(--none);
  border-radius: 6px; padding: 16px 20px; }
.verdict h2 { font-size: 1.5rem; line-height: 1.25; }
.verdict.better { border-color: var(--better); }
.verdict.better h2 { color: var(--better); }
.verdict.worse { border-color: var(--worse); }
.verdict.worse h2 { color: var(--worse); }
.caution { border-color: var(--warn); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid var(--line);
  vertical-align: bottom; }
th { font-weight: 600; font-size: 0.85rem; color: var(--quiet); }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.arm { display: inline-block; margin-right: 14px; }
.arm::before { content: ""; display: inline-block; width: 10px; height: 10px;
  border-radius: 50%; background: currentColor; margin-right: 6px; }
.arm0 { color: var(--arm0); } .arm1 { color: var(--arm1); }
.arm2 { color: var(--arm2); } .arm3 { color: var(--arm3); }
.arm4 { color: var(--arm4); } .arm5 { color: var(--arm5); }
.row { display: grid; grid-template-columns: 12rem minmax(140px, 1fr) 23rem; gap: 16px;
  align-items: center; padding: 8px 0; border-bottom: 1px solid var(--line); }
.word { font-weight: 600; } .word.better { color: var(--better); }
.word.worse { color: var(--worse); } .word.none { color: var(--none); }
.charts { display: grid; gap: 20px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
figure { margin: 0; max-width: 480px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 13px; }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--line); }
svg .zero { stroke: var(--ink); stroke-dasharray: 3 3; }
svg.interval { height: 26px; }
svg .range { stroke-width: 5; stroke-linecap: round; stroke: var(--none);
  opacity: 0.55; }
svg .range.better { stroke: var(--better); } svg .range.worse { stroke: var(--worse); }
svg circle { fill: var(--none); } svg circle.better { fill: var(--better); }
svg circle.worse { fill: var(--worse); }
svg g circle { fill: currentColor; }
svg polygon { fill: currentColor; opacity: 0.16; }
svg polyline { fill: none; stroke: currentColor; stroke-width: 2; }
svg g line { stroke: currentColor; stroke-width: 2; opacity: 0.4; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--quiet); }
@media (max-width: 700px) {
  .row { grid-template-columns: 1fr; gap: 4px; }
  svg text { font-size: 15px; }
  table { font-size: 0.9rem; }
  th, td { padding: 6px 7px; } }
@media print { .verdict, .caution, .row, figure { break-inside: avoid; } }
"""
