// The page of images of one's own: behind the # stand the image chosen (i) and the place (p), by number.
(() => {
  const index = block("index"), views = block("views"), pictures = block("pictures");
  const asked = () => {
    const words = new URLSearchParams(location.hash.slice(1));
    const among = (name, list) => list[Number(words.get(name))] ? Number(words.get(name)) : 0;
    return { i: among("i", views.images), p: among("p", index.places) };
  };
  const address = (changes) => `#${new URLSearchParams({ ...asked(), ...changes })}`;
  const picture = (i) => (i === null ? null : pictures[i]);

  function draw() {
    const { i, p } = asked(), place = index.places[p], image = views.images[i];
    const page = {
      classes: views.classes, grid: index.grid, cls: index.cls, picture, link: String,
      setsOf: (feature) => Object.keys(place.sets).filter((name) => place.sets[name].includes(feature)).join(", "),
    };
    byId("place").value = String(p);
    byId("thumbnails").replaceChildren(...views.images.map((one, at) => make("li", {},
      make("a", { href: address({ i: at }), "aria-current": String(at === i) },
        pictureBox(picture(one.picture), "", index.grid), one.file))));
    byId("detail").replaceChildren(make("h2", { id: "detail-title" }, `${image.file}, at ${nameOf(place)}`),
      ...imageView(image, block(`images-${p}`)[i], page));
  }
  byId("place").append(...index.places.map((place, p) => make("option", { value: String(p) }, nameOf(place))));
  byId("place").addEventListener("change", (event) => { location.hash = address({ p: event.target.value }); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", draw);
  startButtons();
  byId("looked").hidden = false;
  draw();
})();
