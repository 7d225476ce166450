"""The look of the console. One sheet, light and dark, from a phone to a screen on the wall, and on
paper."""

COLOURS = """
:root { color-scheme:light dark;
  --ground:#f2f4f6; --sheet:#fff; --ink:#17212b; --soft:#55626f; --line:#d3dae1; --strong:#8593a1;
  --accent:#0b5cad; --on-accent:#fff; --tint:#e3eefa;
  --good:#1b6e3c; --good-tint:#dcf1e3; --warn:#8a5300; --warn-tint:#ffeccb;
  --bad:#a5231c; --bad-tint:#fde4e1; }
"""
DARK = """{ --ground:#0f151b; --sheet:#19222b; --ink:#e7edf3; --soft:#a5b2bf; --line:#303c48;
  --strong:#76858f; --accent:#7cbcff; --on-accent:#06131f; --tint:#1c3450;
  --good:#7ddba0; --good-tint:#173a26; --warn:#ffc870; --warn-tint:#44300d;
  --bad:#ffa59c; --bad-tint:#4a1d19; }
"""

CSS = (
    COLOURS
    + ".body--dark "
    + DARK
    + """
body { background:var(--ground); color:var(--ink); font-family:system-ui,sans-serif;
  font-size:1rem; line-height:1.45; }
.nicegui-content { padding:0; display:block; width:100%; }
a { color:var(--accent); }
h1 { font-size:1.5rem; font-weight:650; margin:0; line-height:1.25; letter-spacing:-.01em; }
h2 { font-size:1.05rem; font-weight:650; margin:0; line-height:1.3; }
p { margin:0; }
div:has(> .skip) { position:absolute; }
.skip { position:absolute; left:-999px; top:0; background:var(--sheet); padding:8px 14px;
  z-index:9; }
.skip:focus { left:8px; top:8px; }
:focus-visible { outline:3px solid var(--accent); outline-offset:2px; border-radius:4px; }
.top { background:var(--sheet) !important; color:var(--ink) !important; padding:0 !important;
  border-bottom:1px solid var(--line); box-shadow:none !important; }
.top .in { max-width:1240px; width:100%; margin:0 auto; padding:10px 20px; display:flex;
  align-items:center;
  gap:10px 22px; flex-wrap:wrap; }
.brand { font-weight:700; letter-spacing:-.01em; white-space:nowrap; }
.brand i { display:inline-block; width:.62em; height:.62em; border-radius:2px; margin-right:8px;
  background:var(--accent); }
.top nav { display:flex; gap:4px; }
.top nav a { color:var(--ink); text-decoration:none; padding:7px 12px; border-radius:8px;
  font-weight:550; }
.top nav a:hover { background:var(--ground); }
.top nav a[aria-current] { background:var(--tint); color:var(--accent); }
.top .who { margin-left:auto; color:var(--soft); font-size:.9rem; }
.main { max-width:1240px; margin:0 auto; padding:24px 20px 64px; display:flex; width:100%;
  flex-direction:column; gap:20px; align-items:stretch; }
.sheet { background:var(--sheet); border:1px solid var(--line); border-radius:14px;
  padding:18px 20px; display:flex; flex-direction:column; gap:14px; width:100%; min-width:0; }
.line { display:flex; gap:12px; align-items:center; flex-wrap:wrap; width:100%; }
.line.top-aligned { align-items:flex-start; }
.grow { flex:1 1 220px; min-width:0; }
.soft { color:var(--soft); }
.small { font-size:.9rem; }
.mono { font-family:ui-monospace,SFMono-Regular,Menlo,monospace; letter-spacing:.02em; }
.q-field { min-width:0; }
.q-field__native, .q-field__label { color:var(--ink) !important; }
.q-field__label { color:var(--soft) !important; }
.q-field--outlined .q-field__control:before { border-color:var(--strong) !important; }
.q-field--focused .q-field__control:after { border-color:var(--accent) !important; }
.q-field--with-bottom { padding-bottom:0 !important; }
.q-field__bottom { color:var(--soft) !important; position:static !important;
  line-height:1.35 !important; transform:none !important; padding:5px 12px 0 !important;
  min-height:0 !important; }
.q-btn { border-radius:9px; min-height:42px; padding:4px 18px; font-weight:600; font-size:.98rem; }
form .q-btn { text-transform:none; font-family:inherit; cursor:pointer; }
.q-btn:before { box-shadow:none !important; }
.q-btn.main-act { background:var(--accent) !important; color:var(--on-accent) !important; }
.q-btn.other-act { background:transparent !important; color:var(--accent) !important;
  border:1px solid var(--strong); }
.q-btn.bad-act { background:transparent !important; color:var(--bad) !important;
  border:1px solid var(--bad); }
.next { border-left:6px solid var(--strong); }
.next.urgent { background:var(--tint); border-color:var(--accent); }
.next .say { font-size:1.35rem; font-weight:600; line-height:1.3; }
.next .more { color:var(--soft); }
.meter { height:14px; border-radius:7px; background:var(--line); overflow:hidden; width:100%; }
.meter > div { height:100%; background:var(--accent); transition:width .3s; min-width:0; }
.meter.whole > div { background:var(--good); }
.facts { display:flex; gap:6px 28px; flex-wrap:wrap; align-items:baseline; }
.facts b { font-size:1.25rem; font-variant-numeric:tabular-nums; font-weight:650; }
.tiles { display:grid; gap:14px; grid-template-columns:repeat(auto-fill,minmax(230px,1fr)); }
.tile { position:relative; overflow:hidden; border-radius:12px; border:1px solid var(--line);
  background:var(--sheet); padding:12px 14px 14px; min-height:136px; display:flex;
  flex-direction:column; gap:4px; }
.tile .head, .tile .serial, .tile .doing { position:relative; }
.tile .fill { position:absolute; inset:0 auto 0 0; width:0; background:var(--tint);
  transition:width .25s; }
.tile .head { display:flex; justify-content:space-between; gap:8px; font-size:.9rem;
  color:var(--soft); }
.tile .port { font-weight:650; color:var(--ink); }
.tile .serial { font-size:1.2rem; min-height:1.75rem; }
.tile .doing { margin-top:auto; font-weight:600; display:flex; gap:8px; align-items:center; }
.tile .doing i { font-style:normal; width:1.3em; height:1.3em; border-radius:50%; flex:none;
  display:grid; place-items:center; font-size:.85em; border:1px solid currentColor; }
.tile.done { border-color:var(--good); } .tile.done .fill { background:var(--good-tint); }
.tile.done .doing { color:var(--good); }
.tile:is(.press,.type) { border-color:var(--warn); }
.tile:is(.press,.type) .fill { background:var(--warn-tint); width:100% !important; }
.tile:is(.press,.type) .doing { color:var(--warn); }
.tile.failed { border-color:var(--bad); }
.tile.failed .fill { background:var(--bad-tint); width:100% !important; }
.tile.failed .doing { color:var(--bad); }
.tile.empty { border-style:dashed; border-color:var(--strong); }
.tile.empty .doing { color:var(--soft); }
.sheet p { margin:0; } :is(.sheet p, .sheet-links) a { text-decoration:underline; }
.place { width:4.5em; font:inherit; padding:6px 8px; border:1px solid var(--strong);
  border-radius:8px; background:var(--ground); color:var(--ink); }
.notice { border-radius:12px; padding:12px 16px; border:1px solid var(--line); width:100%;
  background:var(--sheet); display:flex; flex-direction:column; gap:3px; }
.notice.bad { border-color:var(--bad); background:var(--bad-tint); }
.notice.good { border-color:var(--good); background:var(--good-tint); }
.notice { overflow-wrap:anywhere; }
.notice strong { font-weight:650; }
.wide { overflow-x:auto; width:100%; }
table.list { border-collapse:collapse; width:100%; font-size:.95rem; }
table.list th { text-align:left; font-weight:600; color:var(--soft); padding:6px 12px 6px 0;
  border-bottom:1px solid var(--strong); white-space:nowrap; }
table.list td { padding:8px 12px 8px 0; border-bottom:1px solid var(--line); vertical-align:top; }
table.list tr:last-child td { border-bottom:0; }
table.list td.mono { white-space:nowrap; }
table.list .hash { color:var(--soft); font-size:.85rem; }
.chip { display:inline-block; border-radius:999px; padding:1px 10px; font-size:.85rem;
  font-weight:600; border:1px solid var(--line); background:var(--ground); white-space:nowrap; }
.chip.good { color:var(--good); border-color:var(--good); background:var(--good-tint); }
.chip.warn { color:var(--warn); border-color:var(--warn); background:var(--warn-tint); }
.chip.bad { color:var(--bad); border-color:var(--bad); background:var(--bad-tint); }
.chip.info { color:var(--accent); border-color:var(--accent); background:var(--tint); }
.choices { border:0; padding:0; margin:0; display:flex; flex-direction:column; gap:8px; }
.choice { margin-left:-10px; font-weight:550; }
.choice .q-checkbox__bg { border-color:var(--strong) !important; }
.choice .q-checkbox__inner--truthy .q-checkbox__bg { background:var(--accent) !important;
  border-color:var(--accent) !important; }
.choice .q-checkbox__svg { color:var(--on-accent); }
.means { padding-left:30px; max-width:75ch; }
.ask { max-width:560px; position:relative; z-index:1; }
.two { display:grid; gap:20px; grid-template-columns:minmax(0,1fr); align-items:start; }
@media (min-width:980px) { .two { grid-template-columns:minmax(0,1.1fr) minmax(0,1fr); } }
.tabs { display:flex; gap:6px; flex-wrap:wrap; }
.tabs .q-btn { min-height:36px; padding:2px 14px; }
.tabs .q-btn[aria-pressed=true] { background:var(--tint) !important; border-color:var(--accent); }
.more-acts summary { cursor:pointer; color:var(--accent); font-weight:600; padding:4px 0; }
.act { display:flex; flex-direction:column; gap:14px; }
.more-acts .act + .act { border-top:1px solid var(--line); padding-top:16px; }
.more-acts .inner { display:flex; flex-direction:column; gap:14px; padding-top:10px; }
.messages { display:flex; flex-direction:column; align-items:flex-start; gap:10px; }
.messages:empty { display:none; }
.spoken { position:absolute; width:1px; height:1px; overflow:hidden; clip-path:inset(50%); }
.card-head { display:flex; gap:12px; align-items:baseline; flex-wrap:wrap; }
.card-head .mono { font-size:1.5rem; font-weight:650; }
@media (max-width:640px) { .top .in { padding:8px 14px; gap:6px 10px; }
  .top .who, .top .brand { display:none; } .top nav { width:100%; }
  .main { padding:16px 14px 48px; } .top nav a { padding:6px 9px; } }
@media print { :root, .body--dark { --ground:#fff; --sheet:#fff; --ink:#000; --soft:#333;
    --line:#999; --strong:#555; --accent:#000; --tint:#fff; --good:#000; --good-tint:#fff;
    --warn:#000; --warn-tint:#fff; --bad:#000; --bad-tint:#fff; }
  .top, .no-print, .q-btn, .skip { display:none !important; }
  .main { padding:0; max-width:none; } .sheet { border:0; padding:0; }
  .tile, table.list tr { break-inside:avoid; } body { font-size:10.5pt; }
  .q-page, .q-layout { min-height:0 !important; } }
@media (prefers-reduced-motion:reduce) {
  * { transition:none !important; animation-duration:1ms !important; } }
"""
)
