"use strict";

(() => {
  const PAGE = 60; // cards that are added at a time
  const SAMPLE = 24; // dimensions of "random", "best" and "worst"

  const report = JSON.parse(document.getElementById("report-data").textContent);
  for (const run of report.runs) {
    for (const dimension of run.dimensions) {
      report.fields.forEach((field, column) => { dimension[field.key] = dimension.values[column]; });
    }
  }

  const byId = (id) => document.getElementById(id);
  const form = byId("controls");
  const control = (name) => form.elements[name];
  const dialog = byId("dimension");
  let run = report.runs[0];
  let view = []; // dimensions that the controls select, in order
  let rendered = 0; // how many of them have a card
  let opened = null;

  /** An element with attributes and children; text stays text. */
  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  /** Numbers as in solo_bayesncl.report.formats. */
  function format(value, unit) {
    if (value === null || value === undefined) return "–";
    const text = {
      share: () => `${(100 * value).toFixed(1)} %`,
      count: () => value.toFixed(0),
    }[unit]?.() ?? (value !== 0 && Math.abs(value) < 0.1 ? String(Number(value.toPrecision(3))) : value.toFixed(2));
    return text.replaceAll("-", "−");
  }

  const className = (label) => (label === null ? "dead" : run.classes[label]);
  /** What a dimension stands for. */
  function words({ owner, consistency, support, monosemanticity }) {
    if (support === 0) return "dead";
    const images = `${support}${run.samples ? ` of ${run.samples}` : ""} images`;
    if (owner !== null && support === 1) return `its only image is “${run.classes[owner]}”`;
    if (owner !== null && consistency !== null) {
      return `${(100 * consistency).toFixed(0)} % of its ${support} images are “${run.classes[owner]}”`;
    }
    return `active on ${images}` + (monosemanticity === null ? "" : `, similarity ${format(monosemanticity, "number")}`);
  }

  const isDead = (dimension) => dimension.support === 0;

  /** Pseudorandom numbers in 0..1 (mulberry32). */
  function randomNumbers(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function sample(list, count, seed) {
    const pool = [...list];
    const random = randomNumbers(seed);
    for (let last = pool.length - 1; last > 0; last -= 1) {
      const other = Math.floor(random() * (last + 1));
      [pool[last], pool[other]] = [pool[other], pool[last]];
    }
    return pool.slice(0, count);
  }

  /** Sorted by a field; dimensions without a value come last in either direction. */
  function sorted(list, key, descending) {
    const sign = descending ? -1 : 1;
    return [...list].sort((a, b) => {
      if (a[key] === null || b[key] === null) return (a[key] === null) - (b[key] === null) || a.index - b.index;
      return sign * (a[key] - b[key]) || a.index - b.index;
    });
  }

  function matching() {
    const owner = control("owner").value;
    const support = Number(control("support").value) || 0;
    const consistency = (Number(control("consistency").value) || 0) / 100;
    return run.dimensions.filter((dimension) =>
      !(control("hide-dead").checked && isDead(dimension)) &&
      dimension.support >= support &&
      (dimension.consistency ?? 0) >= consistency &&
      (owner === "" || dimension.owner === Number(owner)));
  }

  function chosen(matches) {
    const preset = control("preset").value;
    if (preset === "random") return sample(matches, SAMPLE, Number(control("seed").value) || 0);
    if (preset === "all") return matches;
    return sorted(matches, "adjusted_consistency", preset === "best").slice(0, SAMPLE);
  }

  function tile([number, activation]) {
    const [label, path] = run.tiles[number] ?? [null, null];
    const words = `${label === null ? "image" : run.classes[label]}, activation ${format(activation, "number")}`;
    const node = element("span", { class: `tile ${run.sprite}`, role: "img", "aria-label": words, title: path ? `${words}\n${path}` : words });
    const [column, row] = [number % run.columns, Math.floor(number / run.columns)];
    node.style.backgroundPosition = `calc(var(--tile) * -${column}) calc(var(--tile) * -${row})`;
    return node;
  }

  function withoutTiles(dimension) {
    if (isDead(dimension)) return "active on no image";
    return dimension.top.length ? "no thumbnails" : "no image with a positive activation";
  }

  function card(dimension) {
    const button = element("button", { type: "button", class: "open", "aria-haspopup": "dialog" }, `dimension ${dimension.index}`);
    button.addEventListener("click", () => show(dimension));
    const tiles = element("div", { class: "tiles" });
    if (run.sprite && dimension.top.length) tiles.append(...dimension.top.map(tile));
    else tiles.append(element("p", {}, withoutTiles(dimension)));
    const numbers = element("dl");
    for (const { key, label, unit, meaning } of report.fields.filter((field) => field.onCard)) {
      const value = element("dd", { "data-field": key }, format(dimension[key], unit));
      numbers.append(element("div", { title: meaning }, element("dt", {}, label), value));
    }
    return element("li", { class: isDead(dimension) ? "card dead" : "card", "data-index": dimension.index },
      element("header", {}, button, element("span", { class: "owner" }, words(dimension))),
      element("div", { class: "body" }, tiles, numbers));
  }

  function addCards(limit = PAGE) {
    const next = view.slice(rendered, rendered + limit);
    byId("cards").append(...next.map(card));
    rendered += next.length;
    const left = view.length - rendered;
    byId("show-more").hidden = left === 0;
    byId("show-more").textContent = `Show ${Math.min(left, PAGE)} more of ${left}`;
    return next.length;
  }

  function render() {
    const matches = matching();
    view = sorted(chosen(matches), control("sort").value, control("order").value === "descending");
    rendered = 0;
    byId("cards").replaceChildren();
    addCards();
    byId("seed-control").hidden = control("preset").value !== "random";
    byId("status").textContent = statusText(matches.length);
  }

  function statusText(matches) {
    const dead = run.dimensions.filter(isDead).length;
    const total = `${run.dimensions.length} dimensions, ${dead} dead`;
    if (view.length === 0) return `No dimension matches these filters (0 of ${total}).`;
    const how = {
      random: `a random sample of the ${matches} that match, seed ${control("seed").value || 0}`,
      best: `the highest adjusted consistency of the ${matches} that match`,
      worst: `the lowest adjusted consistency of the ${matches} that match`,
      all: "all that match",
    }[control("preset").value];
    return `${view.length} of ${total}: ${how}.`;
  }

  function selectRun(index) {
    const before = control("owner").selectedOptions[0]?.textContent;
    run = report.runs[index];
    control("run").value = String(index);
    const options = run.classes.map((name, label) => element("option", { value: label }, name));
    control("owner").replaceChildren(element("option", { value: "" }, "any"), ...options);
    const same = run.classes.indexOf(before);
    control("owner").value = same < 0 ? "" : String(same);
    render();
  }

  /** The fragment that a dimension can be linked by. */
  const address = (dimension) => "#" + new URLSearchParams({ run: run.label, ...(dimension && { dim: dimension.index }) });

  const show = (dimension) => { location.hash = address(dimension); };

  function fillDialog(dimension) {
    opened = dimension;
    const seed = run.seed === null ? "" : `, seed ${run.seed}`;
    byId("dimension-title").textContent = `Dimension ${dimension.index} of ${run.label}${seed}`;
    byId("dimension-note").textContent = isDead(dimension)
      ? "Dead: active on no image."
      : `Active on ${dimension.support} of ${run.samples ?? "all"} images${dimension.owner === null ? "" : `, most often on “${className(dimension.owner)}”`}.`;
    fillTop(dimension);
    fillHistogram(dimension);
    byId("numbers").replaceChildren(...report.fields.map(({ key, label, unit, meaning }) =>
      element("div", {},
        element("span", {}, element("dt", {}, label), element("dd", { "data-field": key }, format(dimension[key], unit))),
        element("small", {}, meaning))));
    const place = view.indexOf(dimension);
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place === view.length - 1;
  }

  function fillTop(dimension) {
    const figures = dimension.top.map(([number, activation]) => {
      const label = run.tiles[number]?.[0] ?? null;
      const caption = element("figcaption", {}, label === null ? "" : run.classes[label], element("br"), format(activation, "number"));
      return element("figure", {}, ...(run.sprite ? [tile([number, activation])] : []), caption);
    });
    byId("top").replaceChildren(...(figures.length ? figures : ["None."]));
  }

  function fillHistogram(dimension) {
    if (dimension.counts.length === 0) {
      byId("histogram").replaceChildren("None.");
      return;
    }
    const most = dimension.counts[0][1];
    const rows = dimension.counts.map(([label, count]) => {
      const bar = element("span");
      bar.style.width = `${(100 * count) / most}%`;
      const samples = run.classSamples?.[label];
      return element("tr", {},
        element("th", { scope: "row" }, run.classes[label]),
        element("td", { class: "meter", "aria-hidden": "true" }, bar),
        element("td", { class: "count" }, String(count)),
        element("td", {}, samples === undefined ? "" : `of ${samples}`));
    });
    const others = run.classes.length - rows.length;
    byId("histogram").replaceChildren(element("table", {}, element("tbody", {}, ...rows)),
      ...(others ? [element("p", {}, element("small", {}, `${others} other classes: 0`))] : []));
  }

  function step(distance) {
    const next = view[view.indexOf(opened) + distance];
    if (next) location.replace(address(next));
  }

  /** Shows what the address names. */
  function route() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("run")) {
      dialog.close();
      return;
    }
    const index = report.runs.findIndex((candidate) => candidate.label === wanted.get("run"));
    if (index < 0) {
      byId("status").textContent = `There is no run ${wanted.get("run")} in this report.`;
      return;
    }
    if (report.runs[index] !== run) selectRun(index);
    if (!wanted.has("dim")) {
      dialog.close();
      return;
    }
    const dimension = run.dimensions.find((candidate) => String(candidate.index) === wanted.get("dim"));
    if (!dimension) {
      dialog.close();
      byId("status").textContent = `${run.label} has no dimension ${wanted.get("dim")}.`;
      return;
    }
    fillDialog(dimension);
    if (!dialog.open) dialog.showModal();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  // numbers act while they are typed: at `change`, when the focus leaves, a click would be lost
  form.addEventListener("input", (event) => { if (event.target.type === "number") render(); });
  form.addEventListener("change", ({ target }) => {
    if (target.type === "number") return;
    if (target.name === "run") {
      selectRun(Number(target.value));
      location.replace(address(null));
      return;
    }
    if (target.name === "preset" && target.value !== "all") {
      control("sort").value = target.value === "random" ? "index" : "adjusted_consistency";
      control("order").value = target.value === "best" ? "descending" : "ascending";
    }
    render();
  });
  byId("show-more").addEventListener("click", () => {
    const first = rendered;
    if (addCards()) byId("cards").children[first].querySelector(".open").focus();
  });
  byId("close").addEventListener("click", () => dialog.close());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => {
    if (new URLSearchParams(location.hash.slice(1)).has("dim")) location.replace(address(null));
  });
  window.addEventListener("hashchange", route);

  form.reset(); // a reloading browser may keep old choices
  selectRun(0);
  route();
})();
