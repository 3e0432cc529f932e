"use strict";
// The page's program. What it shows is in the JSON blocks above: `index` at once, a place's own block and the
// pictures when they are first looked at. Nothing is asked of a network.
(() => {
  const byId = (id) => document.getElementById(id);
  const block = (id) => JSON.parse(byId(id).textContent);
  const index = block("index");
  const rows = index.feature.map((feature, i) => ({
    i, feature, place: index.place[i], difference: index.difference[i], rank: index.rank[i],
    sets: index.sets[i], frequency: index.frequency[i], largest: index.largest[i],
  }));
  const nameOf = (p) => `${p.dictionary}, ${p.hook_point}, layer ${p.layer}`;
  const setsOf = (mask) => index.set_names.filter((_, bit) => mask & (1 << bit)).join(", ");
  for (const row of rows) {
    row.words = `${row.feature} ${nameOf(index.places[row.place])} ${setsOf(row.sets)}`.toLowerCase();
  }

  const COLUMNS = [
    ["place", "place", "words"], ["feature", "feature", ""], ["sets", "sets", "words"],
    ["difference", "difference", ""], ["rank", "rank", ""], ["frequency", "fires on", ""], ["largest", "largest", ""],
  ];
  const STEP = 200;
  let shown = STEP, state = {}, order = [], pictures = null;
  const details = new Map();

  // ---- small helpers

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  const number = (x) => (x === null || x === undefined ? "–" : String(Number(x.toPrecision(3))));
  const percent = (x) => (x === null || x === undefined ? "–" : `${Number((100 * x).toPrecision(3))} %`);
  const remembered = (name, value) => { // all pages opened from a disk share this, and some browsers forbid it
    try {
      if (value !== undefined) localStorage.setItem(`clipsteer-explorer-${name}`, value);
      return localStorage.getItem(`clipsteer-explorer-${name}`);
    } catch { return null; }
  };

  // ---- the address: what is chosen stands behind the #, so that it can be kept and sent

  const placeKey = (p) => ({ d: p.dictionary, h: p.hook_point, l: String(p.layer) });
  function placeAt(words) {
    return index.places.findIndex((p) => Object.entries(placeKey(p)).every(([k, v]) => words.get(k) === v));
  }
  function read() { // `place`: whose features are listed, -1 for all; `at`: the place of the feature chosen
    const words = new URLSearchParams(location.hash.slice(1)), asked = words.get("f");
    const at = words.has("d") ? placeAt(words) : index.first;
    return {
      at, place: words.has("all") ? -1 : at, feature: asked === null ? null : Number(asked),
      named: words.has("d") ? `${words.get("d")}, ${words.get("h")}, layer ${words.get("l")}` : "",
      sort: words.get("sort") || "-difference", set: words.get("set") || "", filter: words.get("q") || "",
    };
  }
  function address(changes) {
    const to = { ...state, ...changes }, words = new URLSearchParams();
    if (to.at >= 0) for (const [k, v] of Object.entries(placeKey(index.places[to.at]))) words.set(k, v);
    if (to.feature !== null) words.set("f", to.feature);
    if (to.place < 0) words.set("all", "1");
    if (to.sort !== "-difference") words.set("sort", to.sort);
    if (to.set) words.set("set", to.set);
    if (to.filter) words.set("q", to.filter);
    return `#${words}`;
  }
  function go(changes, replace = false) {
    const hash = address(changes);
    if (replace) history.replaceState(null, "", hash); else history.pushState(null, "", hash);
    follow();
  }

  // ---- the list

  function choose() {
    const bit = index.set_names.indexOf(state.set);
    const wanted = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const mask = state.set === "selected" ? 3 : bit < 0 ? 0 : 1 << bit;
    const descending = state.sort.startsWith("-"), key = state.sort.replace("-", "");
    const fits = (row) =>
      (state.place < 0 || row.place === state.place) && (!mask || row.sets & mask) &&
      wanted.every((word) => (/^\d+$/.test(word) ? row.words.split(/[ ,]+/).includes(word) : row.words.includes(word)));
    const compare = (a, b) => {
      const x = a[key], y = b[key];
      if (x === y) return a.i - b.i;
      if (x === null || y === null) return x === null ? 1 : -1; // what is unknown comes last
      return (x < y ? -1 : 1) * (descending ? -1 : 1);
    };
    order = rows.filter(fits).sort(compare);
  }
  function drawHeads() {
    const key = state.sort.replace("-", "");
    byId("heads").replaceChildren(...COLUMNS.filter(([name]) => state.place < 0 || name !== "place").map(([name, label, kind]) => {
      const sorted = name !== key ? "none" : state.sort.startsWith("-") ? "descending" : "ascending";
      const sign = { none: "", descending: " ▼", ascending: " ▲" }[sorted];
      const button = make("button", { type: "button", "data-sort": name }, label + sign);
      return make("th", { scope: "col", "aria-sort": sorted, class: kind || null }, button);
    }));
  }
  function drawRows() {
    const link = (row) => make("a", { href: address({ at: row.place, feature: row.feature }) }, String(row.feature));
    byId("rows").replaceChildren(...order.slice(0, shown).map((row) => {
      const place = index.places[row.place];
      const current = state.feature === row.feature && state.at === row.place;
      const where = state.place < 0 ? [make("td", { class: "words" }, `${place.dictionary} ${place.layer}`)] : [];
      return make("tr", { "aria-current": current ? "true" : null, "data-row": row.i }, ...where, make("td", {}, link(row)),
        make("td", { class: "words" }, setsOf(row.sets)), make("td", {}, number(row.difference)),
        make("td", {}, String(row.rank)), make("td", {}, percent(row.frequency)), make("td", {}, number(row.largest)));
    }));
    byId("count").textContent = `${order.length} of ${rows.length} features` +
      (order.length > shown ? `, the first ${shown} shown` : "");
    byId("more").hidden = order.length <= shown;
  }

  // ---- one feature

  const GREY = 128, VEIL = 0.8; // neither dark nor bright patches look like silent ones
  function heatMap(levels) {
    const [height, width] = index.grid;
    const canvas = make("canvas", { width, height, "aria-hidden": "true" });
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    levels.forEach((level, i) => image.data.set([GREY, GREY, GREY, Math.round(VEIL * (255 - level))], 4 * i));
    context.putImageData(image, 0, 0);
    return canvas;
  }
  function example([, image, value, cls], levels) {
    const file = index.files[image], group = index.groups[index.group_of[image]];
    const said = `image ${file}, ${group}, activation ${number(value)}`;
    const box = make("div", { class: "picture" });
    if (index.pictures) {
      pictures = pictures || block("pictures");
      box.append(make("img", { src: `data:image/webp;base64,${pictures[image]}`, alt: said, loading: "lazy" }));
    } else {
      box.classList.add("empty");
    }
    box.append(heatMap(levels));
    const [rowsOf, columnsOf] = index.grid;
    box.style.aspectRatio = `${columnsOf} / ${rowsOf}`;
    const words = make("figcaption", {}, make("b", {}, number(value)), ` ${group}`, make("br"));
    if (index.cls) words.append(`CLS ${number(cls)}`, make("br"));
    words.append(file.split("/").pop());
    return make("li", {}, make("figure", {}, box, words));
  }
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  function drawExamples(found) {
    const [height, width] = index.grid, patches = height * width, levels = bytes(found.h);
    const parts = new Map();
    found.e.forEach((one, i) => {
      if (!parts.has(one[0])) parts.set(one[0], []);
      parts.get(one[0]).push(example(one, levels.subarray(i * patches, (i + 1) * patches)));
    });
    const titles = { 0: "Largest activations", 1: "Drawn at random among the images on which it fires" };
    const quantiles = index.quantiles;
    return [0, ...[...Array(quantiles).keys()].map((q) => q + 2), 1].filter((kind) => parts.has(kind)).flatMap((kind) => [
      make("h3", {}, titles[kind] || `Part ${kind - 1} of ${quantiles} by activation` +
        (kind === 2 ? ", the highest" : kind === quantiles + 1 ? ", the lowest" : "")),
      make("ul", { class: "examples" }, ...parts.get(kind)),
    ]);
  }
  function drawGroups(found) {
    const most = Math.max(...found.m.map((x) => Math.abs(x ?? 0)), 1e-12);
    const body = index.groups.map((group, g) => {
      const bar = make("span", { class: "bar" });
      bar.style.width = `${(8 * Math.max(found.m[g] ?? 0, 0)) / most}rem`;
      return make("tr", {}, make("th", { scope: "row", class: "words" }, group), make("td", {}, number(found.m[g])),
        make("td", { class: "chart" }, bar), make("td", {}, String(index.train_images[g])),
        make("td", {}, `${found.f[g]} of ${index.group_images[g]}`));
    });
    const heads = ["group", "mean", "", "images", `fires on, ${index.split}`].map((text, i) =>
      i === 2 ? make("td") : make("th", { scope: "col", class: i ? null : "words" }, text));
    return make("table", {}, make("caption", { class: "help" }, `Mean activation (${index.aggregate} over tokens) on the training split`),
      make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
  }
  function drawHistogram(found) {
    const total = index.n_images, fired = found.b.reduce((sum, [, n]) => sum + n, 0);
    const low = Math.min(...found.b.map(([bin]) => bin)), high = Math.max(...found.b.map(([bin]) => bin));
    const words = `It fires on ${fired} of ${total} images (${percent(fired / total)}).`;
    const holder = make("div", {}, make("p", {}, words));
    if (!fired) return holder;
    const edge = (bin) => number(Math.pow(2, index.edges[0] + (bin - 1) * index.edges[1]));
    const bins = high - low + 1, wide = Math.min(Math.max(9, 130 / bins), 24), tall = 90, width = Math.max(bins * wide, 130);
    const most = Math.max(...found.b.map(([, n]) => n));
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const said = `Images by largest activation, from ${edge(low)} to ${edge(high + 1)}, two bars to a doubling`;
    for (const [name, value] of [["width", width + 10], ["height", tall + 18], ["role", "img"], ["aria-label", said]]) svg.setAttribute(name, value);
    const draw = (tag, attributes, text) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      if (text) node.textContent = text;
      svg.append(node);
    };
    for (const [bin, n] of found.b) {
      const height = (n / most) * tall;
      draw("rect", { x: (bin - low) * wide, y: tall - height, width: wide - 1, height });
    }
    draw("text", { x: 0, y: tall + 13 }, `${edge(low)} to ${edge(high + 1)}`);
    holder.append(svg, make("p", { class: "help" }, "Images by their largest activation; two bars to a doubling."));
    return holder;
  }
  function drawFacts(row, found, place) {
    const known = new Set(rows.filter((r) => r.place === row.place).map((r) => r.feature));
    const near = found.n.flatMap(([feature, cosine], i) => [
      i ? ", " : "",
      known.has(feature) ? make("a", { href: address({ at: row.place, feature }) }, String(feature)) : String(feature),
      ` (${cosine.toFixed(2)})`,
    ]);
    const facts = [
      ["Difference by Eq. 9", `${number(row.difference)}, rank ${row.rank} of ${place.m}`],
      ["Sets", setsOf(row.sets) || "none"],
      ["Fires on", `${percent(row.frequency)} of training images, ${percent(found.t)} of their tokens`],
      ["Mean where it fires", number(found.a)], ["Nearest by direction", near.length ? near : "none: a basis"],
      ["Encoder and direction", found.c === null ? "one: a basis" : `cosine ${found.c.toFixed(2)}`],
    ];
    return make("dl", {}, ...facts.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, ...[text].flat())]));
  }
  function drawDetail() {
    const panel = byId("detail");
    const title = (text) => make("h2", { id: "detail-title" }, text);
    if (state.feature === null && state.at >= 0) {
      panel.replaceChildren(title("No feature chosen"), make("p", {}, "Choose one from the list."));
      return;
    }
    const row = rows.find((r) => r.feature === state.feature && r.place === state.at);
    if (!row) {
      panel.replaceChildren(title("Not on this page"), make("p", { role: "alert" },
        state.at < 0 ? `This page has no place ${state.named}.`
          : `Feature ${state.feature} of ${nameOf(index.places[state.at])} is not shown here: it is none of the selected features, controls and ends of Eq. 9 that this page has.`));
      return;
    }
    const place = index.places[row.place];
    if (!details.has(row.place)) details.set(row.place, block(`place-${row.place}`));
    const found = details.get(row.place)[row.feature];
    const link = make("input", { class: "link", readonly: "", "aria-label": "Link to this feature" });
    link.value = location.href;
    const legend = make("p", { class: "help" }, "Patches are veiled where the feature is silent ", make("span", { class: "legend" }),
      ` and clear at its largest here, ${number(found.s)}.` + (index.cls ? " CLS has no place on the picture: its activation stands below." : ""));
    panel.replaceChildren(title(`${nameOf(place)}, feature ${row.feature}`), link, drawFacts(row, found, place),
      make("div", { class: "columns" }, drawGroups(found), drawHistogram(found)),
      found.e.length ? legend : make("p", {}, `It fires on no image of the ${index.split} split.`), ...drawExamples(found),
      make("p", { class: "help" }, "Dictionary: ", make("code", {}, place.digest), "; where it comes from: ", make("code", {}, index.why)));
  }

  // ---- what follows from the address, and what people do

  function follow(focus = false) {
    const before = state;
    state = read();
    if (before.place !== state.place || before.sort !== state.sort || before.set !== state.set || before.filter !== state.filter) shown = STEP;
    byId("place").value = String(state.place);
    byId("set").value = state.set;
    if (byId("filter").value !== state.filter) byId("filter").value = state.filter;
    choose();
    if (state.feature === null && state.at >= 0 && order.length) { // none is asked for: the list's first
      Object.assign(state, { at: order[0].place, feature: order[0].feature });
      history.replaceState(null, "", address({}));
    }
    drawHeads();
    drawRows();
    drawDetail();
    if (focus) byId("detail").focus({ preventScroll: true });
  }
  function step(by) {
    const at = order.findIndex((row) => row.feature === state.feature && row.place === state.at);
    const row = order[at < 0 ? 0 : Math.min(Math.max(at + by, 0), order.length - 1)];
    if (!row) return;
    if (order.indexOf(row) >= shown) shown = order.indexOf(row) + STEP;
    go({ at: row.place, feature: row.feature }, true);
    const line = document.querySelector(`[data-row="${row.i}"]`);
    if (line) line.scrollIntoView({ block: "nearest" });
  }
  function setHeat(on) {
    document.body.classList.toggle("no-heat", !on);
    byId("heat").setAttribute("aria-pressed", String(on));
  }
  const isDark = () => (document.documentElement.dataset.theme ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function setTheme(dark) {
    document.documentElement.dataset.theme = remembered("theme", dark ? "dark" : "light") || (dark ? "dark" : "light");
    byId("theme").textContent = dark ? "Light" : "Dark";
  }

  if (remembered("theme")) document.documentElement.dataset.theme = remembered("theme");
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("place").append(make("option", { value: "-1" }, "all places"), ...index.places.map((p, i) =>
    make("option", { value: String(i) }, `${nameOf(p)} (${rows.filter((r) => r.place === i && r.sets & 3).length} selected)`)));
  byId("set").append(make("option", { value: "" }, "all"), make("option", { value: "selected" }, "selected (strict or relaxed)"),
    ...index.set_names.map((name) => make("option", { value: name }, name)));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("place").addEventListener("change", (event) => {
    const place = Number(event.target.value);
    go({ place, at: place < 0 ? index.first : place, feature: null });
  });
  byId("set").addEventListener("change", (event) => go({ set: event.target.value }));
  byId("filter").addEventListener("input", (event) => go({ filter: event.target.value }, true));
  byId("heads").addEventListener("click", (event) => {
    const name = event.target.dataset.sort;
    if (!name) return;
    const falling = state.sort === `-${name}`, text = name === "place" || name === "rank" || name === "feature";
    go({ sort: state.sort === name || (!falling && !text) ? `-${name}` : name });
    document.querySelector(`[data-sort="${name}"]`).focus();
  });
  byId("rows").addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (event.target.tagName !== "A" && line) {
      const row = rows[Number(line.dataset.row)];
      go({ at: row.place, feature: row.feature });
    }
  });
  byId("more").addEventListener("click", () => { shown += STEP; drawRows(); });
  byId("heat").addEventListener("click", () => setHeat(document.body.classList.contains("no-heat")));
  byId("theme").addEventListener("click", () => setTheme(!isDark()));
  addEventListener("hashchange", () => follow(true)); // a link, another address, back and forward
  addEventListener("keydown", (event) => {
    if (!byId("shortcuts").checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const act = { j: () => step(1), k: () => step(-1), "/": () => byId("filter").focus(),
      h: () => setHeat(document.body.classList.contains("no-heat")), d: () => setTheme(!isDark()) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  for (const id of ["app", "buttons", "keys"]) byId(id).hidden = false;
  follow();
})();
