// What paints each region of the mask: for each a small picture of where it is, the models, and a slider.

const UNPAINTED = "none";
const id = (name) => document.getElementById(name);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/** A colour of a mask in words, where there is one: masks are often black and white. */
function named(region) {
  if (region === "0") return "Black";
  if (region === "255") return "White";
  return region.startsWith("#") ? region : `Grey ${region}`;
}

/** Shows the regions; `change` gets what changes of one of them. `words` say models and strengths in words. */
export function showRegions(regions, models, words, change) {
  const place = id("region-list");
  id("regions").hidden = regions.length === 0;
  // Each region has its own model.
  id("styles").hidden = id("style-keys").hidden = regions.length > 0;
  id("region-keys").hidden = regions.length === 0;
  id("last-region").textContent = Math.min(9, regions.length);
  const shape = JSON.stringify([regions.map(({ region }) => region), models]);
  if (place.dataset.shape !== shape) {
    place.dataset.shape = shape;
    place.replaceChildren(...regions.map(({ region }, n) => row(region, n, models, words, change)));
  }
  regions.forEach((region, n) => update(place.children[n], region, words));
}

function row(region, n, models, words, change) {
  const choices = [...models, { name: UNPAINTED }].map((model) => {
    const input = make("input", { type: "radio", name: `region-${n}`, value: model.name });
    const text = model.name === UNPAINTED ? "Unpainted" : words.title(model.name);
    input.setAttribute("aria-label", text);
    input.addEventListener("change", () => change({ region, model: model.name }));
    const thumb = make("span", { className: model.name === UNPAINTED ? "thumb unpainted" : "thumb" });
    thumb.setAttribute("aria-hidden", "true");
    if (model.thumbnail) thumb.append(make("img", { src: model.thumbnail, alt: "" }));
    else if (model.name !== UNPAINTED) thumb.textContent = text.slice(0, 1).toUpperCase();
    return make("label", { className: "choice", title: text }, input, thumb);
  });
  const strength = make("input", { id: `region-strength-${n}`, type: "range", min: 0, max: 1, step: 0.01 });
  strength.addEventListener("input", () => change({ region, strength: Number(strength.value) }));
  return make(
    "fieldset",
    { className: "region" },
    make("legend", { className: "sr", textContent: `Region ${named(region)}` }),
    make(
      "div",
      { className: "where" },
      make("img", { className: "shape", src: `/api/v1/regions/${n}/shape`, alt: "" }),
      make("b", { textContent: named(region) }),
      make("span", { className: "painter" }),
    ),
    make("div", { className: "choices" }, ...choices),
    make(
      "div",
      { className: "slider" },
      make("label", { htmlFor: strength.id, textContent: "Strength" }),
      make("output", { htmlFor: strength.id }),
      strength,
    ),
  );
}

function update(row, { model, strength }, words) {
  for (const input of row.querySelectorAll("input[type=radio]")) input.checked = input.value === model;
  row.querySelector(".painter").textContent = model === UNPAINTED ? "unpainted" : words.title(model);
  const slider = row.querySelector("input[type=range]");
  slider.disabled = model === UNPAINTED;
  slider.value = strength;
  slider.setAttribute("aria-valuetext", words.percent(strength));
  row.querySelector("output").textContent = words.percent(strength);
}

/** The model after this one; after the last comes none. */
export function next(model, models) {
  const at = models.findIndex(({ name }) => name === model);
  return models[model === UNPAINTED ? 0 : at + 1]?.name ?? UNPAINTED;
}
