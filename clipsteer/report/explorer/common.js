"use strict";
// What pages share. All that they show is in JSON blocks of the page; nothing is asked of a network.

const byId = (id) => document.getElementById(id);
const block = (id) => JSON.parse(byId(id).textContent);

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
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const nameOf = (p) => `${p.dictionary}, ${p.hook_point}, layer ${p.layer}`;
const remembered = (name, value) => { // all pages opened from a disk share this, and some browsers forbid it
  try {
    if (value !== undefined) localStorage.setItem(`clipsteer-explorer-${name}`, value);
    return localStorage.getItem(`clipsteer-explorer-${name}`);
  } catch { return null; }
};

// ---- pictures under a veil that is clear where a feature is active

const GREY = 128, VEIL = 0.8; // neither dark nor bright patches look like silent ones
function heatMap(levels, [height, width]) {
  const canvas = make("canvas", { width, height, "aria-hidden": "true" });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  levels.forEach((level, i) => image.data.set([GREY, GREY, GREY, Math.round(VEIL * (255 - level))], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}
function pictureBox(webp, said, grid, levels) { // `webp`: base64, or null for a page without pictures
  const box = make("div", { class: "picture" });
  if (webp) box.append(make("img", { src: `data:image/webp;base64,${webp}`, alt: said, loading: "lazy" }));
  else box.classList.add("empty");
  if (levels) box.append(heatMap(levels, grid));
  box.style.aspectRatio = `${grid[1]} / ${grid[0]}`;
  return box;
}

// ---- heat maps on and off, dark and light

function setHeat(on) {
  document.body.classList.toggle("no-heat", !on);
  byId("heat").setAttribute("aria-pressed", String(on));
}
const toggleHeat = () => setHeat(document.body.classList.contains("no-heat"));
const isDark = () => (document.documentElement.dataset.theme ||
  (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function setTheme(dark) {
  document.documentElement.dataset.theme = remembered("theme", dark ? "dark" : "light") || (dark ? "dark" : "light");
  byId("theme").textContent = dark ? "Light" : "Dark";
}
const toggleTheme = () => setTheme(!isDark());
function startButtons() {
  if (remembered("theme")) document.documentElement.dataset.theme = remembered("theme");
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("heat").addEventListener("click", toggleHeat);
  byId("theme").addEventListener("click", toggleTheme);
  byId("buttons").hidden = false;
}
