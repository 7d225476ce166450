"""The reader's panel: two hands whose fingers can be pressed, the sensor, and what it waits for."""

from __future__ import annotations

from tallystick.emulator.devices.hand import BEHAVIOURS, FINGERS

# Finger → x, y of its tip and its length, on a 200 × 190 left hand seen from the back.
_SHAPE = {
    "little": (28, 70, 60), "ring": (64, 34, 92), "middle": (100, 18, 108), "index": (136, 36, 92),
    "thumb": (171, 100, 70),
}  # fmt: skip

_STYLE = """
:root { color-scheme: light dark; --skin: #c98f6b; --edge: #7a4a2c; --on: #2f6fed; --soft: #8886;
  --text: #1a1a1a; --page: #fafafa; }
@media (prefers-color-scheme: dark) { :root { --text: #eee; --page: #16181c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 1.5rem auto; padding: 0 1rem;
  color: var(--text); background: var(--page); }
h1 { font-size: 1.5rem; margin: 0; }
.hands { display: flex; justify-content: center; gap: 1rem; flex-wrap: wrap; }
svg { width: min(100%, 21rem); height: auto; }
.finger { cursor: pointer; fill: var(--skin); stroke: var(--edge); stroke-width: 2; }
.finger:hover { fill: #dca98a; stroke-width: 4; }
.finger:focus-visible { fill: #dca98a; outline: none; stroke: var(--on); stroke-width: 6; }
.finger.down { fill: var(--on); }
.palm { fill: var(--skin); stroke: var(--edge); stroke-width: 2; }
text { font-size: 11px; fill: var(--text); text-anchor: middle; pointer-events: none; }
text.side { fill: #1a1a1a; }
#sensor { border: 3px solid var(--soft); border-radius: 1rem; padding: .8rem 1rem; margin: 1rem 0;
  display: flex; gap: 1rem; align-items: center; }
#ring { width: 3.2rem; height: 3.2rem; border-radius: 50%; border: .45rem solid var(--soft); flex:
none; } #ring.waits { border-color: var(--on); animation: breathe 1.4s infinite ease-in-out; }
@keyframes breathe { 50% { opacity: .35; } } @media (prefers-reduced-motion: reduce) { #ring.waits {
animation: none; } } form, .buttons { display: flex; gap: 1rem; flex-wrap: wrap; align-items: end;
margin: .8rem 0; } label { display: grid; font-size: .9rem; } select, input, button { font: inherit;
padding: .3rem .6rem; height: 2.3rem; box-sizing: border-box; }
"""

_SCRIPT = """
const text = document.getElementById('text'), ring = document.getElementById('ring');
async function send(path, body) {
  const answer = await fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify(body)});
  const value = await answer.json();
  if (!answer.ok) { text.textContent = value.error.what || value.error; return; }
  show(value);
}
function show(state) {
  ring.classList.toggle('waits', state.waits_for_finger);
  text.textContent = state.crash ? 'The firmware stopped: ' + state.crash.split('\\n').pop()
    : !state.powered ? 'Unplugged.' : !state.sensor ? 'The sensor’s cable is out.'
    : state.finger ? 'On the sensor: ' + state.finger.replace('-', ' ') + '.'
    : state.waits_for_finger ? 'Waits for a finger: press one.' : 'Ready.';
  document.getElementById('power').textContent = state.powered ? 'Unplug' : 'Plug in';
  document.getElementById('power').dataset.on = state.powered ? '' : '1';
  document.getElementById('cable').textContent =
    state.sensor ? 'Pull sensor cable' : 'Plug sensor cable';
  document.getElementById('cable').dataset.on = state.sensor ? '' : '1';
  for (const finger of document.querySelectorAll('.finger'))
    finger.classList.toggle('down', finger.dataset.finger === state.finger);
}
function press(finger) {
  send('/finger', {finger, person: +document.getElementById('person').value,
    manner: document.getElementById('manner').value});
}
for (const finger of document.querySelectorAll('.finger')) {
  finger.addEventListener('click', () => press(finger.dataset.finger));
  finger.addEventListener('keydown', event => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    press(finger.dataset.finger);
  });
}
document.getElementById('touch').onclick = () => send('/touch', {});
document.getElementById('power').onclick = e => send('/power', {on: !!e.target.dataset.on});
document.getElementById('cable').onclick = e => send('/sensor', {plugged: !!e.target.dataset.on});
async function look() {
  try { show(await (await fetch('/state')).json()); }
  catch { text.textContent = 'The emulator has stopped.'; }
  setTimeout(look, 300);
}
look();
"""


def _hand(side: str) -> str:
    mirror = side == "right"
    parts = [f'<svg viewBox="0 0 210 200" role="group" aria-label="{side} hand">']
    left = 54 if mirror else 14
    parts.append(f'<rect class="palm" x="{left}" y="116" width="142" height="76" rx="34"/>')
    for name, (tip_x, tip_y, length) in _SHAPE.items():
        at = 210 - tip_x if mirror else tip_x
        finger = f"{side}-{name}"
        assert finger in FINGERS
        parts.append(
            f'<rect class="finger" tabindex="0" role="button" aria-label="{side} {name}" '
            f'data-finger="{finger}" x="{at - 15}" y="{tip_y}" '
            f'width="30" height="{length}" rx="15">'
            f"<title>{side} {name}</title></rect>"
            f'<text x="{at}" y="{tip_y - 5}">{name}</text>'
        )
    return "".join([*parts, f'<text class="side" x="{left + 71}" y="160">{side}</text></svg>'])


def panel() -> str:
    """The whole page as HTML; nothing is fetched from elsewhere."""
    manners = "".join(f"<option>{name}</option>" for name in BEHAVIOURS)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        '<link rel=icon href="data:,">'
        f"<title>Tallystick reader</title><style>{_STYLE}</style><main><h1>Tallystick reader</h1>"
        "<div id=sensor><div id=ring></div><div id=text role=status>…</div></div>"
        f"<div class=hands>{_hand('left')}{_hand('right')}</div>"
        "<form onsubmit='return false'>"
        f"<label>Way to press<select id=manner>{manners}</select></label>"
        "<label>Whose hand (0: yours)"
        "<input id=person type=number min=0 max=9999 value=0></label></form>"
        "<div class=buttons><button id=touch>Touch without a print</button>"
        "<button id=power></button><button id=cable></button></div>"
        '<p><a href="/docs">The calls behind this page</a></p></main>'
        f"<script>{_SCRIPT}</script>"
    )
