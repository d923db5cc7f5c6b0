// Owns what the pages do beyond links and forms: local times, keys, copying, live rows. All else works without it.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  // Local times. The server writes UTC; the zone is the reader's.
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const shapes = {
    clock: new Intl.DateTimeFormat("en-GB", { ...clock, second: "2-digit" }),
    minute: new Intl.DateTimeFormat("en-GB", clock),
    day: new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" }),
    full: new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" }),
  };
  const isToday = (at) => at.toDateString() === new Date().toDateString();
  const written = (at, shape) => {
    if (shape === "auto") return isToday(at) ? shapes.clock.format(at) : `${shapes.day.format(at)}, ${shapes.minute.format(at)}`;
    return shapes[shape].format(at);
  };
  const localise = (root) => {
    for (const node of all("[data-shape]", root)) {
      const at = new Date(node.getAttribute("datetime") || node.dataset.at);
      if (Number.isNaN(at.getTime())) continue;
      node.textContent = written(at, node.dataset.shape);
      if (node.tagName === "TIME") node.title = shapes.full.format(at);
    }
  };
  localise(document);

  // Say something briefly, also to screen readers.
  const said = one("#said");
  let silence = 0;
  const say = (words) => {
    if (!said) return;
    said.textContent = words;
    said.classList.add("shown");
    clearTimeout(silence);
    silence = setTimeout(() => said.classList.remove("shown"), 1600);
  };

  // Copying: what stands in data-copy, in the element that data-copy-of names, or behind the link data-copy-from.
  const copy = async (button) => {
    const { copy: text, copyOf, copyFrom } = button.dataset;
    try {
      const value = copyFrom ? await (await fetch(copyFrom)).text() : copyOf ? one(copyOf).textContent : text;
      await navigator.clipboard.writeText(value);
      say("Copied");
    } catch {
      say("The browser does not let this page copy");
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-of], [data-copy-from]");
    if (button) {
      event.preventDefault();
      copy(button);
      return;
    }
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  // Filters apply as they are chosen.
  document.addEventListener("change", (event) => {
    if (event.target.matches("form[data-auto] select")) event.target.form.requestSubmit();
  });
  // A form without its empty fields makes a link worth sharing.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "get") return;
    for (const field of all("input, select", event.target)) if (!field.value) field.disabled = true;
  });
  addEventListener("pageshow", () => all("form[method=get] :disabled").forEach((field) => { field.disabled = false; }));

  // Keys. Each is named beside its button by data-key; "g" begins a place.
  let begun = "";
  let forget = 0;
  const rows = () => all("a.whole").filter((link) => link.offsetParent);
  const move = (step) => {
    const links = rows();
    const here = links.indexOf(document.activeElement);
    const next = links[Math.min(Math.max(here + step, 0), links.length - 1)];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    }
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "Escape") {
      if (typing) typing.blur();
      for (const menu of all("details.menu[open]")) menu.open = false;
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = begun + event.key.toLowerCase();
    const target = one(`[data-key="${CSS.escape(key)}"]`);
    clearTimeout(forget);
    begun = "";
    if (target) {
      event.preventDefault();
      if (target.matches("input")) {
        target.focus();
        target.select();
      } else target.click();
    } else if (key === "g") {
      begun = "g ";
      forget = setTimeout(() => { begun = ""; }, 1200);
    } else if (key === "j" || key === "k") {
      move(key === "j" ? 1 : -1);
    }
  });

  // Live parts: each event is one element of the page as it is now; it takes the place of the one with its id.
  const parts = one("[data-parts]");
  if (parts && window.EventSource) {
    const source = new EventSource(parts.dataset.parts);
    const state = one("#live-state");
    const tell = (words) => { if (state) { state.textContent = words; state.hidden = false; } };
    source.addEventListener("open", () => tell("live"));
    source.addEventListener("error", () => tell("reconnecting"));
    source.addEventListener("part", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = event.data;
      const fresh = holder.content.firstElementChild;
      const old = fresh && document.getElementById(fresh.id);
      if (!old) return;
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
      localise(fresh);
      if (old.innerHTML === fresh.innerHTML) return;
      old.replaceWith(fresh);
      if (focused) fresh.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
    });
    addEventListener("pagehide", () => source.close());
  }

  // Live rows: each event is one table row, as the server would have written it.
  const live = one("[data-live]");
  if (live && window.EventSource) {
    const source = new EventSource(live.dataset.live);
    const state = one("#live-state");
    const tell = (words) => { if (state) state.textContent = words; };
    source.addEventListener("open", () => tell("live"));
    source.addEventListener("error", () => tell("reconnecting"));
    source.addEventListener("row", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = event.data;
      const row = holder.content.firstElementChild;
      if (!row || document.getElementById(row.id)) return;
      localise(row);
      row.classList.add("fresh");
      live.prepend(row);
      while (live.rows.length > 200) live.lastElementChild.remove();
      const empty = one("#none-yet");
      if (empty) empty.hidden = true;
      one("#listed").hidden = false;
    });
    addEventListener("pagehide", () => source.close());
  }
})();
