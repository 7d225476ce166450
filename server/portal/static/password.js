// Shows a password that is being chosen, and says how much of the shortest one is there.
"use strict";
for (const box of document.querySelectorAll("[data-shows]")) {
  const fields = box.dataset.shows.split(" ").map((id) => document.getElementById(id));
  box.closest("label").hidden = false;
  box.addEventListener("change", () => {
    for (const field of fields) field.type = box.checked ? "text" : "password";
  });
}
for (const meter of document.querySelectorAll("[data-measures]")) {
  const field = document.getElementById(meter.dataset.measures);
  const words = document.getElementById(meter.dataset.words);
  const shortest = Number(meter.dataset.shortest);
  const show = () => {
    const length = [...field.value.normalize("NFKC")].length;
    const kinds = new Set(field.value).size;
    const enough = length >= shortest && kinds >= 5;
    meter.value = Math.min(length, meter.max) * (kinds < 5 ? 0.5 : 1);
    meter.hidden = words.hidden = length === 0;
    words.textContent = length < shortest ? meter.dataset.more.replace("{count}", shortest - length)
      : !enough ? meter.dataset.simple
      : length < shortest + 6 ? meter.dataset.enough : meter.dataset.good;
  };
  field.addEventListener("input", show);
  show();
}
