// The explorer: a list of features or of images, and on the right what is known of the one chosen. Of the JSON blocks
// `index` is read at once, a place's own and the pictures when they are first looked at.
(() => {
  const index = block("index");
  const rows = index.feature.map((feature, i) => ({
    i, feature, place: index.place[i], difference: index.difference[i], rank: index.rank[i],
    sets: index.sets[i], frequency: index.frequency[i], largest: index.largest[i],
  }));
  const setsOf = (mask) => index.set_names.filter((_, bit) => mask & (1 << bit)).join(", ");
  for (const row of rows) {
    row.words = `${row.feature} ${nameOf(index.places[row.place])} ${setsOf(row.sets)}`.toLowerCase();
  }

  const COLUMNS = [
    ["place", "place", "words"], ["feature", "feature", ""], ["sets", "sets", "words"],
    ["difference", "difference", ""], ["rank", "rank", ""], ["frequency", "fires on", ""], ["largest", "largest", ""],
    ["cosine", "nearest there", ""],
  ];
  const STEP = 200;
  let shown = STEP, state = {}, order = [], pictures = null;
  const details = new Map(), imagesAt = new Map();
  const views = index.views ? block("views") : null;
  const viewOf = new Map((views ? views.images : []).map((image, i) => [image.picture, i]));

  const picture = (i) => {
    if (!index.pictures || i === null) return null;
    pictures = pictures || block("pictures");
    return pictures[i];
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
      image: words.has("i") ? words.get("i") : null, beside: words.get("c") || "",
      sort: words.get("sort") || "-difference", set: words.get("set") || "", filter: words.get("q") || "",
    };
  }
  function address(changes) {
    const to = { ...state, ...changes }, words = new URLSearchParams();
    if (to.at >= 0) for (const [k, v] of Object.entries(placeKey(index.places[to.at]))) words.set(k, v);
    if (to.image !== null) words.set("i", to.image); else if (to.feature !== null) words.set("f", to.feature);
    if (to.place < 0) words.set("all", "1"); else if (to.beside) words.set("c", to.beside);
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

  function linkField(what) {
    const link = make("input", { class: "link", readonly: "", "aria-label": `Link to this ${what}` });
    link.value = location.href;
    return link;
  }

  // ---- another dictionary of the layer: where its nearest directions are

  const detailsAt = (at) => {
    if (!details.has(at)) details.set(at, block(`place-${at}`));
    return details.get(at);
  };
  function placesBeside(at) { // [place, its number] of the other dictionaries whose directions were compared
    const own = index.places[at], first = own && Object.values(detailsAt(at))[0];
    return index.places.map((p, i) => [p, i]).filter(([p]) => first && p.dictionary in first.x &&
      p.layer === own.layer && p.hook_point === own.hook_point);
  }
  const nearOf = (row, name) => detailsAt(row.place)[row.feature].x[name] || [];
  function linksTo(near, at) { // neighbours at another place, those that this page shows as links
    const known = new Set(rows.filter((r) => r.place === at).map((r) => r.feature));
    return near.flatMap(([feature, cosine], i) => [
      i ? ", " : "",
      known.has(feature) ? make("a", { href: address({ at, place: at, feature, beside: "" }) }, String(feature)) : String(feature),
      ` (${cosine.toFixed(2)})`,
    ]);
  }
  function drawBeside() {
    const found = state.place < 0 ? [] : placesBeside(state.at);
    byId("beside-label").hidden = !found.length;
    byId("beside").replaceChildren(make("option", { value: "" }, "none"),
      ...found.map(([p]) => make("option", { value: p.dictionary }, p.dictionary)));
    if (!found.some(([p]) => p.dictionary === state.beside)) state.beside = "";
    byId("beside").value = state.beside;
    for (const row of rows) row.cosine = null;
    byId("beside-count").textContent = "";
    if (!state.beside) return;
    const at = found.find(([p]) => p.dictionary === state.beside)[1], mine = rows.filter((r) => r.place === state.at);
    const there = new Map(rows.filter((r) => r.place === at).map((r) => [r.feature, r]));
    for (const row of mine) [row.nearest, row.cosine] = nearOf(row, state.beside)[0] || [null, null];
    const chosen = mine.filter((r) => r.sets & 3), again = chosen.filter((r) => (there.get(r.nearest)?.sets ?? 0) & 3);
    const cosines = mine.map((r) => r.cosine).sort((a, b) => a - b);
    byId("beside-count").textContent = `The nearest direction of ${state.beside} has a cosine of ` +
      `${number(cosines[Math.floor((cosines.length - 1) / 2)])} in the median; of ${chosen.length} selected features it is selected there, too, for ${again.length}.`;
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
  const IF_ALONE = ["frequency", "largest"]; // make room for what is beside
  const shows = (name) => (name === "place" ? state.place < 0 : name === "cosine" ? Boolean(state.beside)
    : !(state.beside && IF_ALONE.includes(name)));
  function drawHeads() {
    const key = state.sort.replace("-", "");
    byId("heads").replaceChildren(...COLUMNS.filter(([name]) => shows(name)).map(([name, label, kind]) => {
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
        make("td", {}, String(row.rank)), ...(state.beside
          ? [make("td", {}, row.cosine === null ? "–" : `${row.nearest} (${row.cosine.toFixed(2)})`)]
          : [make("td", {}, percent(row.frequency)), make("td", {}, number(row.largest))]));
    }));
    byId("count").textContent = `${order.length} of ${rows.length} features` +
      (order.length > shown ? `, the first ${shown} shown` : "");
    byId("more").hidden = order.length <= shown;
  }

  // ---- one feature

  function example([, image, value, cls], levels) {
    const file = index.files[image], group = index.groups[index.group_of[image]];
    const box = pictureBox(picture(image), `image ${file}, ${group}, activation ${number(value)}`, index.grid, levels);
    const words = make("figcaption", {}, make("b", {}, number(value)), ` ${group}`, make("br"));
    if (index.cls) words.append(`CLS ${number(cls)}`, make("br"));
    const own = viewOf.get(image), name = file.split("/").pop();
    words.append(own === undefined ? name : make("a", { href: address({ image: own }) }, name));
    return make("li", {}, make("figure", {}, box, words));
  }

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
    const near = linksTo(found.n, row.place);
    const facts = [
      ["Difference by Eq. 9", `${number(row.difference)}, rank ${row.rank} of ${place.m}`],
      ["Sets", setsOf(row.sets) || "none"],
      ["Fires on", `${percent(row.frequency)} of training images, ${percent(found.t)} of their tokens`],
      ["Mean where it fires", number(found.a)], ["Nearest by direction", near.length ? near : "none: a basis"],
      ...placesBeside(row.place).map(([p, at]) => [`Nearest in ${p.dictionary}`, linksTo(nearOf(row, p.dictionary), at)]),
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
    const nodes = [title(`${nameOf(index.places[row.place])}, feature ${row.feature}`), linkField("feature"), ...featureNodes(row)];
    if (!state.beside) { panel.replaceChildren(...nodes); return; }
    const at = placesBeside(row.place).find(([p]) => p.dictionary === state.beside)[1];
    const other = rows.find((r) => r.place === at && r.feature === row.nearest);
    panel.replaceChildren(make("div", { class: "halves" }, make("div", {}, ...nodes), make("div", {},
      make("h2", {}, `${nameOf(index.places[at])}, feature ${row.nearest}`), make("p", {}, `The nearest direction there, cosine ${row.cosine.toFixed(3)}.`),
      ...(other ? featureNodes(other) : [make("p", {}, "It is not shown on this page: neither selected there, nor a control or an end of Eq. 9.")]))));
  }
  function featureNodes(row) {
    const place = index.places[row.place], found = detailsAt(row.place)[row.feature];
    const legend = make("p", { class: "help" }, "Patches are veiled where the feature is silent ", make("span", { class: "legend" }),
      ` and clear at its largest here, ${number(found.s)}.` + (index.cls ? " CLS has no place on the picture: its activation stands below." : ""));
    return [drawFacts(row, found, place),
      make("div", { class: "columns" }, drawGroups(found), drawHistogram(found)),
      found.e.length ? legend : make("p", {}, `It fires on no image of the ${index.split} split.`), ...drawExamples(found),
      make("p", { class: "help" }, "Dictionary: ", make("code", {}, place.digest), "; where it comes from: ", make("code", {}, index.why))];
  }

  // ---- images

  function drawTabs(asked) {
    byId("to-features").href = address({ image: null });
    byId("to-images").href = address({ image: state.image ?? 0, at: Math.max(state.at, 0) });
    byId("to-features").setAttribute("aria-current", String(!asked));
    byId("to-images").setAttribute("aria-current", String(asked));
  }
  function drawImage() {
    const image = views && views.images[state.image], place = index.places[state.at];
    if (!image || !place) {
      byId("detail").replaceChildren(make("h2", { id: "detail-title" }, "Not on this page"), make("p", { role: "alert" },
        image ? `This page has no place ${state.named}.` : `This page has no view of an image ${state.image}.`));
      if (!views) return;
    }
    const at = Math.max(state.at, 0);
    if (!imagesAt.has(at)) imagesAt.set(at, block(`images-${at}`));
    const found = imagesAt.get(at);
    byId("images").replaceChildren(...views.images.map((one, i) => {
      const cell = (shares) => make("td", {}, shares ? percent(shares[one.target]) : "–");
      return make("tr", { "aria-current": String(state.image) === String(i) ? "true" : null },
        make("td", { class: "words" }, make("a", { href: address({ image: i, at }) }, one.file.split("/").pop())),
        make("td", { class: "words" }, one.group), cell(one.p), ...found[i].s.map((set) => cell(set && set[1])), cell(one.pair));
    }));
    if (!image || !place) return;
    const known = new Map(rows.filter((r) => r.place === state.at).map((r) => [r.feature, r]));
    const page = {
      classes: views.classes, grid: index.grid, cls: index.cls, picture,
      link: (feature) => known.has(feature) ? make("a", { href: address({ image: null, feature }) }, String(feature)) : String(feature),
      setsOf: (feature) => known.has(feature) ? setsOf(known.get(feature).sets) : "",
    };
    byId("detail").replaceChildren(make("h2", { id: "detail-title" }, `${image.file.split("/").pop()}, ${image.group}`),
      linkField("image"), make("p", {}, `At ${nameOf(place)}.`), ...imageView(image, found[state.image], page));
  }

  // ---- what follows from the address, and what people do

  function follow(focus = false) {
    const before = state;
    state = read();
    if (before.place !== state.place || before.sort !== state.sort || before.set !== state.set || before.filter !== state.filter) shown = STEP;
    byId("place").value = String(state.place);
    byId("set").value = state.set;
    if (byId("filter").value !== state.filter) byId("filter").value = state.filter;
    const asked = state.image !== null;
    byId("image-list").hidden = !asked;
    byId("feature-list").hidden = asked;
    if (views) drawTabs(asked);
    if (asked) {
      drawImage();
      if (focus) byId("detail").focus({ preventScroll: true });
      return;
    }
    drawBeside();
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
    if (state.image !== null) {
      const next = Math.min(Math.max(Number(state.image) + by, 0), views.images.length - 1);
      go({ image: next }, true);
      return;
    }
    const at = order.findIndex((row) => row.feature === state.feature && row.place === state.at);
    const row = order[at < 0 ? 0 : Math.min(Math.max(at + by, 0), order.length - 1)];
    if (!row) return;
    if (order.indexOf(row) >= shown) shown = order.indexOf(row) + STEP;
    go({ at: row.place, feature: row.feature }, true);
    const line = document.querySelector(`[data-row="${row.i}"]`);
    if (line) line.scrollIntoView({ block: "nearest" });
  }
  byId("place").append(make("option", { value: "-1" }, "all places"), ...index.places.map((p, i) =>
    make("option", { value: String(i) }, `${nameOf(p)} (${rows.filter((r) => r.place === i && r.sets & 3).length} selected)`)));
  byId("set").append(make("option", { value: "" }, "all"), make("option", { value: "selected" }, "selected (strict or relaxed)"),
    ...index.set_names.map((name) => make("option", { value: name }, name)));
  for (const id of ["filters", "narrower"]) byId(id).addEventListener("submit", (event) => event.preventDefault());
  byId("place").addEventListener("change", (event) => {
    const place = Number(event.target.value);
    go({ place, at: place < 0 ? index.first : place, feature: null }); // an image stays, at the other place
  });
  byId("beside").addEventListener("change", (event) => go({ beside: event.target.value }));
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
  addEventListener("hashchange", () => follow(true)); // a link, another address, back and forward
  addEventListener("keydown", (event) => {
    if (!byId("shortcuts").checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const act = { j: () => step(1), k: () => step(-1), "/": () => byId("filter").focus(),
      h: toggleHeat, d: toggleTheme }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  startButtons();
  for (const id of ["app", "keys"]) byId(id).hidden = false;
  byId("tabs").hidden = !views;
  follow();
})();
