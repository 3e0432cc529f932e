// One image: what the model says of it and of its pair, which features are active in it and where, and what the
// class probabilities become without each of them.

const CONDITIONS = ["strict", "relaxed"];

// `image`: of the block `views`; `view`: the image's own of a place's block; `page`: classes, grid, cls, and functions:
// `picture(number)`, `link(feature)`, which gives a node for its number, and `setsOf(feature)`, which names its sets.
function imageView(image, view, page) {
  const shown = image.target === null ? image.p.indexOf(Math.max(...image.p)) : image.target;
  return [
    make("div", { class: "columns" }, patches(image, view, page), predictions(image, view, page, shown)),
    make("h3", {}, "Features active in it"),
    view.f.length ? features(image, view, page, shown) : make("p", {}, "No feature fires on it here."),
  ];
}

// ---- the picture, patch by patch: radio buttons, so that arrow keys go from one to the next

function patches(image, view, page) {
  const [height, width] = page.grid, first = page.cls ? 1 : 0;
  const said = make("p", { class: "help", role: "status" }, "Choose a patch to see its strongest features.");
  const names = [...Array(height * width).keys()].map((i) => `Row ${Math.floor(i / width) + 1}, column ${(i % width) + 1}`);
  const tell = (name, token) => {
    const found = view.t[token], parts = [`${name}: `];
    for (let i = 0; i < found.length; i += 2) parts.push(...(i ? [", "] : []), page.link(found[i]), ` (${number(found[i + 1])})`);
    said.replaceChildren(...parts, found.length ? "" : "no feature fires");
  };
  const choice = (name, token) => {
    const input = make("input", { type: "radio", name: "patch", "aria-label": name });
    input.addEventListener("change", () => tell(name, token));
    return input;
  };
  const cells = make("div", { class: "cells" }, ...names.map((name, i) => choice(name, i + first)));
  cells.style.gridTemplateColumns = `repeat(${width}, 1fr)`;
  const box = pictureBox(page.picture(image.picture), `image ${image.file}`, page.grid);
  box.classList.add("large");
  box.append(cells);
  const all = make("fieldset", { class: "patches" }, make("legend", {}, "Patches"), box);
  if (page.cls) all.append(make("label", { class: "help" }, choice("CLS", 0), " CLS, which has no place on the picture"));
  return make("div", {}, all, said);
}

// ---- what the model says of it

function predictions(image, view, page, shown) {
  const before = image.p[shown];
  const line = (name, shares) => make("tr", {}, make("th", { scope: "row", class: "words" }, name),
    ...page.classes.map((_, c) => make("td", { class: c === shown ? "own" : null }, percent(shares[c]))),
    make("td", {}, shares === image.p ? "" : change(shares[shown] - before)));
  const body = [line("the model alone", image.p)];
  CONDITIONS.forEach((name, i) => {
    if (view.s[i]) body.push(line(`${name} set ablated (${view.s[i][0]} of it fire)`, view.s[i][1]));
  });
  if (image.pair) body.push(line("its pair, unedited", image.pair));
  const heads = ["", ...page.classes, `change of ${page.classes[shown]}`].map((text, i) =>
    i ? make("th", { scope: "col" }, text) : make("td"));
  const holder = make("div", { class: "predictions" }, make("table", {}, make("caption", { class: "help" }, "Class probabilities"),
    make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body)));
  if (image.pair) {
    holder.append(make("p", { class: "help" }, "Its pair differs in the spurious attribute alone: an ideal edit would give its numbers."));
    const picture = page.picture(image.pair_picture);
    if (picture) holder.append(pictureBox(picture, `the pair of image ${image.file}`, page.grid));
  }
  return holder;
}
const change = (x) => `${x > 0 ? "+" : x < 0 ? "−" : ""}${number(Math.abs(100 * x))} points`;

// ---- its features

function features(image, view, page, shown) {
  const [height, width] = page.grid, n = height * width, levels = bytes(view.h), name = page.classes[shown];
  const item = ([feature, mean, largest, cls, onPair, without], i) => {
    const sets = page.setsOf(feature);
    const words = make("figcaption", {}, make("b", {}, "feature ", page.link(feature)), sets ? ` ${sets}` : "", make("br"),
      `mean ${number(mean)}, largest ${number(largest)}`, make("br"));
    if (page.cls) words.append(`CLS ${number(cls)}`, make("br"));
    if (onPair !== null) words.append(`mean on its pair ${number(onPair)}`, make("br"));
    words.append(`without it ${name} ${percent(without[shown])} (${change(without[shown] - image.p[shown])})`);
    const said = `where feature ${feature} is active in image ${image.file}, at most ${number(view.u[i])} on a patch`;
    return make("li", {}, make("figure", {}, pictureBox(page.picture(image.picture), said, page.grid, levels.subarray(i * n, (i + 1) * n)), words));
  };
  return make("ul", { class: "examples wide" }, ...view.f.map(item));
}
