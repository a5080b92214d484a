"""How the report looks: one column, quiet colours, light and dark, on a phone and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --text: #23262b; --quiet: #646b75; --line: #e6e3de;
  --track: #ecebe7; --accent: 38, 101, 140; --warm: 190, 98, 34; --good: 47, 125, 87;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1b1f25; --text: #e4e6ea; --quiet: #98a1ad; --line: #2b3139;
    --track: #2a3037; --accent: 96, 168, 214; --warm: 226, 148, 88; --good: 104, 189, 143;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 {
  font-size: 1.7rem; line-height: 1.25; margin: 0 0 .2rem; font-weight: 650;
  overflow-wrap: anywhere;
}
h2 { font-size: 1.15rem; margin: 0 0 .15rem; font-weight: 650; }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; font-weight: 600; }
p { margin: 0 0 .8rem; }
.how, header p { color: var(--quiet); max-width: 46rem; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.35rem 1.5rem 1.5rem; margin-top: 1.25rem;
}
dl.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  margin: 1.5rem 0 0;
}
dl.facts > div {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .9rem 1.1rem;
}
dl.facts dt { color: var(--quiet); font-size: .85rem; }
dl.facts dd {
  margin: 0; font-size: 1.45rem; font-weight: 620; font-variant-numeric: tabular-nums;
  line-height: 1.3;
}
dl.facts dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--quiet); }
.scroll { overflow-x: auto; margin-top: .5rem; }
.scroll:focus-visible { outline: 2px solid rgb(var(--accent)); outline-offset: 3px; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td {
  text-align: left; padding: .38rem .7rem .38rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top;
}
thead th { color: var(--quiet); font-weight: 500; font-size: .82rem; white-space: nowrap; }
tbody th { font-weight: 500; min-width: 7rem; overflow-wrap: anywhere; }
tbody tr:last-child > * { border-bottom: 0; }
td.figure, .yes, .no { white-space: nowrap; }
td:last-child { min-width: 7rem; }
td svg { min-width: 6rem; margin-top: .38rem; }
.yes { color: rgb(var(--good)); } .no { color: rgb(var(--warm)); font-weight: 600; }
small, .quiet { color: var(--quiet); }
svg.bar { display: block; width: 100%; height: .6rem; border-radius: .3rem; overflow: hidden; }
svg.bar.tall { height: 1.5rem; border-radius: .4rem; margin: .5rem 0 .6rem; }
svg.columns { display: block; width: 100%; height: 7rem; }
.track { fill: var(--track); } .fill { fill: rgb(var(--accent)); } .zero { fill: var(--quiet); }
.fill.warm { fill: rgb(var(--warm)); } .fill.soft { fill: rgba(var(--accent), .45); }
.axis { display: flex; justify-content: space-between; color: var(--quiet); font-size: .8rem; }
ul.legend {
  list-style: none; padding: 0; margin: 0 0 .6rem; display: flex; flex-wrap: wrap;
  gap: .2rem 1.4rem; font-size: .88rem;
}
ul.legend i {
  display: inline-block; width: .75rem; height: .75rem; border-radius: 3px; margin-right: .45rem;
  background: var(--track);
}
ul.legend i.on { background: rgb(var(--accent)); } ul.legend i.off { background: rgb(var(--warm)); }
table.plain { width: auto; }
table.plain td { padding-left: 1.5rem; overflow-wrap: anywhere; }
table.confusion { width: auto; border-collapse: separate; border-spacing: 2px; font-size: .8rem; }
table.confusion th, table.confusion td { border: 0; padding: .3rem .35rem; }
table.confusion tbody th { min-width: 5rem; }
table.confusion thead th {
  vertical-align: bottom; writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  max-height: 9rem;
}
table.confusion thead th:first-child { writing-mode: horizontal-tb; transform: none; }
table.confusion td { min-width: 2.5rem; text-align: center; border-radius: 4px; }
table.confusion td.full { color: var(--card); }
table.confusion td small {
  display: block; font-size: .68rem; line-height: 1.1; color: inherit; opacity: .8;
}
details { margin-top: .8rem; } summary { cursor: pointer; color: rgb(var(--accent)); }
code, pre { font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: .6rem 0 0; }
footer { color: var(--quiet); font-size: .85rem; margin-top: 1.5rem; }
@media (max-width: 34rem) {
  main { padding: 1.25rem .8rem 2.5rem; }
  section { padding: 1.05rem 1rem 1.15rem; }
  dl.facts { grid-template-columns: 1fr 1fr; gap: .6rem; }
  dl.facts dd { font-size: 1.2rem; }
}
@media print {
  body { background: none; font-size: 10pt; } main { max-width: none; padding: 0; }
  section, dl.facts > div { border-color: #ccc; break-inside: avoid-page; }
  .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
