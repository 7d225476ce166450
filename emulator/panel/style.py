"""The look of the panel. One sheet, light and dark, from a phone to a desk."""

CSS = """
:root { --ground:#eef1f4; --sheet:#ffffff; --ink:#17212b; --soft:#5a6876; --line:#d5dce3;
  --body-a:#31475c; --body-b:#16202b; --accent:#0b6bcb; --on-accent:#ffffff; --glow:#ffffff33; }
.body--dark { --ground:#0e141a; --sheet:#18212a; --ink:#e6edf3; --soft:#9aa8b5; --line:#2b3742;
  --accent:#6cb4ff; --on-accent:#08121c; --glow:#ffffff1c; }
body { background:var(--ground); color:var(--ink); font-family:system-ui,sans-serif; }
.nicegui-content { padding:0; }
.page { width:100%; max-width:1180px; margin:0 auto; padding:20px 16px 48px; gap:20px; }
.top { width:100%; display:flex; align-items:center; gap:12px; flex-wrap:wrap; }
.top h1 { font-size:1.15rem; font-weight:650; margin:0; line-height:1.2; }
.top .facts { color:var(--soft); font-size:.9rem; }
.desk { width:100%; display:grid; gap:20px; grid-template-columns:minmax(0,1fr); }
@media (min-width:980px) { .desk.open { grid-template-columns:minmax(0,1.05fr) minmax(0,1fr); }
  .desk.open .stage { position:sticky; top:20px; align-self:start; z-index:1; } }
.stage { display:flex; flex-direction:column; align-items:center; gap:16px; }
.card { position:relative; width:min(100%,520px); aspect-ratio:85.6/53.98; border-radius:22px;
  background:linear-gradient(155deg,var(--body-a),var(--body-b));
  box-shadow:0 18px 40px #0005, inset 0 1px 0 var(--glow); color:#e8eef2;
  display:grid; grid-template-columns:1fr auto; align-items:center; padding:5.5%; gap:6%; }
.card .brand { position:absolute; left:6%; top:5%; font-weight:650; letter-spacing:.04em;
  font-size:clamp(.75rem,2.4vw,1rem); }
.card .serial { position:absolute; left:6%; bottom:5%; font-family:ui-monospace,monospace;
  letter-spacing:.08em; color:#a9bac8; font-size:clamp(.65rem,2vw,.85rem); }
.glass { height:72%; justify-self:center; align-self:center; border-radius:10px; overflow:hidden;
  box-shadow:0 0 0 5px #0b1118, 0 0 0 6px #ffffff1f; background:#bec8b5; line-height:0; }
.glass.flat { height:auto; width:78%; background:#000; }
.glass img { height:100%; width:100%; image-rendering:pixelated; }
.press { width:clamp(64px,15vw,92px) !important; height:clamp(64px,15vw,92px) !important;
  border-radius:50% !important; color:#fff !important; font-weight:600; touch-action:none;
  background:radial-gradient(circle at 35% 30%,#5f7d97,#2b3d4e) !important;
  box-shadow:0 5px 0 #0d141b, 0 8px 18px #0007; user-select:none; -webkit-user-select:none; }
.press.down { transform:translateY(4px); box-shadow:0 1px 0 #0d141b, 0 2px 6px #0007; }
.state { display:flex; gap:8px; flex-wrap:wrap; justify-content:center; }
.chip { border:1px solid var(--line); background:var(--sheet); border-radius:999px;
  padding:4px 12px; font-size:.85rem; color:var(--ink); }
.card.board { grid-template-columns:1fr; }
.parts { list-style:none; margin:0; padding:8px 14px; width:min(100%,520px);
  background:var(--sheet); border:1px solid var(--line); border-radius:14px; }
.parts li { padding:5px 0; } .parts .name { font-weight:600; min-width:6em; }
.parts .value { flex:1; }
.hint { color:var(--soft); font-size:.85rem; text-align:center; }
.sheet { background:var(--sheet); border:1px solid var(--line); border-radius:14px;
  padding:14px 16px; width:100%; gap:10px; }
.sheet h2 { font-size:.95rem; font-weight:650; margin:0; line-height:1.3; }
.drawer { display:flex; flex-direction:column; gap:14px; }
.row { display:flex; gap:10px; align-items:center; flex-wrap:wrap; width:100%; }
.value { font-variant-numeric:tabular-nums; color:var(--soft); font-size:.88rem; }
.events { font:12.5px/1.5 ui-monospace,monospace; height:18em; overflow:auto; width:100%; margin:0;
  white-space:pre; color:var(--ink); }
.map { display:grid; grid-template-columns:repeat(auto-fill,minmax(9px,1fr)); gap:2px; width:100%; }
.map i { aspect-ratio:1; border-radius:2px; background:var(--line); }
.legend { display:flex; gap:12px; flex-wrap:wrap; font-size:.8rem; color:var(--soft); }
.legend i { display:inline-block; width:10px; height:10px; border-radius:2px; margin-right:5px; }
.spoken { position:absolute; width:1px; height:1px; overflow:hidden; clip-path:inset(50%); }
.sheet .q-btn, .top .q-btn { min-height:36px; padding:4px 14px; border-radius:9px; }
.sheet .q-btn-group .q-btn { padding:4px 10px; }
.sheet .q-btn-group { width:fit-content; border:1px solid var(--line); border-radius:9px; }
.sheet .q-slider { flex:1; min-width:180px; padding:0 10px; }
.body--dark { --q-primary:#5aa6ff !important; --q-negative:#ff8f86 !important; }
.bg-chosen { background:var(--accent); }
.text-chosen { color:var(--on-accent); }
/* Quasar takes outlines away, as important and in a layer; only an earlier layer is stronger. */
@layer base {
  .page :focus-visible { outline:3px solid var(--accent) !important; outline-offset:2px; }
  .page .press:focus-visible { outline-color:#ffd166 !important; outline-offset:4px; }
}
/* Where the system chooses the colours it takes backgrounds and shadows away: what is told by one
   of them alone gets a border, a system colour, or keeps its own. */
@media (forced-colors:active) {
  .card, .glass, .press { border:2px solid CanvasText !important; }
  .press.down, .q-btn[aria-pressed=true] { background:Highlight !important; color:HighlightText
    !important; forced-color-adjust:none; }
  .map i, .legend i { forced-color-adjust:none; }
  .q-slider__track, .q-toggle__track { background:CanvasText !important; forced-color-adjust:none;
    opacity:1; }
  .q-toggle__thumb:after { background:Canvas !important; border:2px solid CanvasText;
    forced-color-adjust:none; }
  .q-toggle[aria-checked=true] .q-toggle__track { background:Highlight !important; }
}
"""
