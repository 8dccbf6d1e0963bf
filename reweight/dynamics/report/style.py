"""How the page looks."""

from __future__ import annotations

STYLE = """
:root{--back:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5d6a7d;--line:#dfe4ea;--issue:#d9480f;
--other:#8fa6c4;--good:#1c7c54;--shade:0 1px 2px #1b233014,0 4px 14px #1b23300d}
@media (prefers-color-scheme:dark){:root{--back:#12161c;--card:#1b212a;--ink:#e7ecf3;
--soft:#9aa7b8;--line:#2d3643;--issue:#ff8a4c;--other:#56708f;--good:#5cc79a;--shade:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 40px}
p{margin:0}
h1{font-size:15px;font-weight:600;letter-spacing:.04em;text-transform:uppercase;
color:var(--soft);margin:0 0 6px}
h2{font-size:20px;line-height:1.3;margin:0}
section{margin-top:36px}
section>p{color:var(--soft);margin:2px 0 14px}
.headline{font-size:clamp(26px,4.6vw,42px);line-height:1.15;font-weight:600;
letter-spacing:-.015em}
.headline strong{color:var(--issue);font-weight:700}
.headline span{color:var(--soft);font-weight:400;white-space:nowrap}
.facts-line{margin-top:10px;color:var(--soft)}
.facts-line b{color:var(--ink);font-weight:600}
.gallery{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(118px,1fr))}
.gallery.wide{grid-template-columns:repeat(auto-fill,minmax(250px,1fr))}
.gallery.texts{grid-template-columns:repeat(auto-fill,minmax(300px,1fr))}
article{background:var(--card);border:1px solid var(--line);border-radius:10px;
box-shadow:var(--shade);padding:10px;display:flex;flex-direction:column;min-width:0}
article img{width:100%;height:auto;display:block;border-radius:6px;background:#000;
image-rendering:pixelated}
.text{white-space:pre-wrap;overflow-wrap:anywhere;font-size:14px;max-height:15em;overflow:auto}
.labels{margin:8px 0 6px;font-size:14px;line-height:1.35;overflow-wrap:anywhere;flex:1}
.labels i{font-style:normal;color:var(--soft);font-weight:400}
.texts .text{flex:1}.texts .labels{flex:none}
.given,.suggested{display:block}
.given{color:var(--issue);text-decoration:line-through;text-decoration-thickness:1px}
.given:last-child{color:var(--ink);text-decoration:none}
.suggested{color:var(--good);font-weight:600}
.facts{display:grid;grid-template-columns:1fr auto;gap:0 6px;font-size:12px;line-height:1.4;
color:var(--soft);font-variant-numeric:tabular-nums}
.facts span:nth-child(even){text-align:right}
.legend{display:flex;flex-wrap:wrap;align-items:center;gap:6px}
.legend small{margin-left:8px}
.key{width:12px;height:12px;border-radius:3px}
.key+.key,.legend .other{margin-left:10px}
.key.issue{background:var(--issue)}.key.other{background:var(--other)}
.charts{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr))}
.chart{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;
box-shadow:var(--shade);padding:12px 12px 6px}
figcaption{font-size:14px;margin-bottom:6px}figcaption span{color:var(--soft)}
svg{width:100%;height:auto;display:block}
svg text{font-size:11px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .issue{fill:var(--issue)}svg .other{fill:var(--other)}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px;
box-shadow:var(--shade);padding:12px}
table{border-collapse:separate;border-spacing:2px;font-size:13px;
font-variant-numeric:tabular-nums}
.heat{width:100%;table-layout:fixed;min-width:calc(110px + 58px*var(--classes))}
.heat th{font-weight:500;color:var(--soft);text-align:right;padding:2px 8px 2px 2px;
white-space:nowrap}
.heat thead th:first-child{width:110px;white-space:normal}
.heat thead th{text-align:center;padding:2px 4px 6px;vertical-align:bottom}
.heat thead th:first-child{text-align:right}
.heat td{height:34px;text-align:center;border-radius:4px;
background:color-mix(in srgb,var(--issue) var(--heat,0%),var(--back))}
.heat td.strong{color:var(--card);font-weight:600}
.heat td.same{background:repeating-linear-gradient(135deg,transparent 0 5px,var(--line) 5px 6px)}
.plain th,.plain td{text-align:left;padding:4px 16px 4px 4px}
.plain .number{text-align:right}
footer{margin-top:36px;padding-top:16px;border-top:1px solid var(--line);color:var(--soft);
font-size:13px}
footer p+p{margin-top:6px}
@media (max-width:560px){main{padding:20px 14px 28px}
.gallery.pictures{grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:8px}
.gallery.texts,.gallery.wide{grid-template-columns:1fr}
article{padding:8px}}
"""
