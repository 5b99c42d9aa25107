// Styles, sliders, buttons and keys.

import { ask, settingsSender } from "./api.js";
import { isComparing, setComparing } from "./picture.js";
import { takePictures } from "./pictures.js";
import { next, showRegions } from "./regions.js";
import { Camera } from "./webrtc.js";

const id = (name) => document.getElementById(name);
const percent = (value) => `${Math.round(100 * value)} %`;

// From the value of a slider to that of the program, and back. Strokes are halved and doubled.
const SLIDERS = {
  strength: { to: Number, from: (v) => v, text: percent },
  stroke: { to: (v) => Math.round(1000 * 4 ** v) / 1000, from: (v) => Math.log(v) / Math.log(4), text: (v) => `× ${v.toFixed(2)}` },
  scale: { to: Number, from: (v) => v, text: percent },
  steady: { to: Number, from: (v) => v, text: percent },
};
// How long the page's own change stands against states that were sent before it.
const OWN_CHANGE = 700;

let settings = null;
let models = [];
let recording = null;
let publisher = null;
const camera = new Camera();
const touched = {};

let toastTimer;
export function toast(text) {
  const place = id("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => place.classList.remove("shown"), 4000);
}

const send = settingsSender((error) => {
  toast(error.message);
  Object.keys(touched).forEach((name) => delete touched[name]);
});

function change(name, value) {
  touched[name] = performance.now();
  settings = { ...settings, [name]: value };
  send({ [name]: value });
  showSettings();
}

/** Changes what paints one region, or how much. */
function changeRegion(given) {
  touched.regions = performance.now();
  const changed = (region) => (region.region === given.region ? { ...region, ...given } : region);
  settings = { ...settings, regions: settings.regions.map(changed) };
  send({ regions: [given] });
  showSettings();
}

function showSettings() {
  if (!settings) return;
  for (const [name, slider] of Object.entries(SLIDERS)) {
    const input = id(name);
    if (document.activeElement !== input || !touched[name]) input.value = slider.from(settings[name]);
    const text = slider.text(settings[name]);
    id(`${name}-value`).textContent = text;
    input.setAttribute("aria-valuetext", text);
  }
  showBlend();
  showRegions(settings.regions, models, { title, percent }, changeRegion);
  id("colours").checked = settings.preserve_color;
  for (const input of document.querySelectorAll("#style-list input")) input.checked = input.value === settings.model;
}

/** A slider for each style of the network, if it has several. */
function showBlend() {
  const names = Object.keys(settings.blend ?? {});
  const place = id("blend");
  place.hidden = names.length === 0;
  if (place.dataset.styles !== JSON.stringify(names)) {
    place.dataset.styles = JSON.stringify(names);
    place.replaceChildren(
      ...names.map((name, n) => {
        const slider = Object.assign(document.createElement("div"), { className: "slider" });
        const label = Object.assign(document.createElement("label"), { htmlFor: `blend-${n}`, textContent: title(name) });
        const output = Object.assign(document.createElement("output"), { htmlFor: `blend-${n}` });
        const input = Object.assign(document.createElement("input"), { id: `blend-${n}`, type: "range", min: 0, max: 1, step: 0.01 });
        input.addEventListener("input", () => {
          const blend = { ...settings.blend, [name]: Number(input.value) };
          // Of nothing there is no picture: the last style stays.
          if (Object.values(blend).some((share) => share > 0)) change("blend", blend);
        });
        slider.append(label, output, input);
        return slider;
      }),
    );
  }
  names.forEach((name, n) => {
    const input = id(`blend-${n}`);
    const text = percent(settings.blend[name]);
    if (document.activeElement !== input || !touched.blend) input.value = settings.blend[name];
    input.previousElementSibling.textContent = text;
    input.setAttribute("aria-valuetext", text);
  });
}

/** Takes settings of the program; what was just changed here stands. */
export function setSettings(given) {
  const now = performance.now();
  const kept = {};
  for (const [name, at] of Object.entries(touched)) {
    if (now - at < OWN_CHANGE) kept[name] = settings[name];
    else delete touched[name];
  }
  settings = { ...given, ...kept };
  showSettings();
}

/** Lists the styles. */
export function setModels(given) {
  const before = JSON.stringify(models);
  if (JSON.stringify(given) === before) return;
  models = given;
  const list = id("style-list");
  list.replaceChildren(
    ...models.map((model) => {
      const label = document.createElement("label");
      label.className = "style";
      label.title = model.name;
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: model.name });
      input.addEventListener("change", () => change("model", model.name));
      const thumb = Object.assign(document.createElement("span"), { className: "thumb" });
      thumb.setAttribute("aria-hidden", "true");
      if (model.thumbnail) {
        thumb.append(Object.assign(document.createElement("img"), { src: model.thumbnail, alt: "", loading: "lazy" }));
      } else {
        thumb.textContent = model.name.slice(0, 1).toUpperCase();
      }
      const name = Object.assign(document.createElement("span"), { className: "name", textContent: title(model.name) });
      label.append(input, thumb, name);
      return label;
    }),
  );
  showSettings();
}

/** A file's name without its folder and end. */
function title(name) {
  return name.split("/").pop().replace(/\.pt$/, "");
}

/** Shows whether a recording goes on. */
export function setRecording(given) {
  recording = given;
  const button = id("record");
  button.setAttribute("aria-pressed", String(Boolean(recording)));
  id("record-text").textContent = recording ? clock(recording.seconds) : "Record";
  button.setAttribute("aria-label", recording ? "Stop recording" : "Record");
}

/** Shows whether this browser's camera can be painted. */
export function setPublisher(given) {
  publisher = given;
  id("camera").hidden = !publisher;
  id("camera").setAttribute("aria-pressed", String(camera.isOn));
}

/** Shows that there is sound. */
export function setSound() {
  id("sound").hidden = false;
}

function sound() {
  const video = id("video");
  video.muted = !video.muted;
  id("sound").setAttribute("aria-pressed", String(!video.muted));
}

function sendCamera() {
  return whileBusy(id("camera"), async () => {
    if (camera.isOn) await camera.stop();
    else await camera.start(publisher, (why) => (setPublisher(publisher), toast(why)));
    setPublisher(publisher);
  });
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

async function whileBusy(button, work) {
  if (button.disabled) return;
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
  button.disabled = false;
}

function snapshot() {
  return whileBusy(id("snapshot"), async () => {
    const answer = await ask("POST", "/api/v1/snapshot");
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "snapshot.png";
    const address = URL.createObjectURL(await answer.blob());
    const link = Object.assign(document.createElement("a"), { href: address, download: name, hidden: true });
    document.body.append(link);
    link.click();
    link.remove();
    // The browser reads it when it likes.
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    toast(`Saved ${name}`);
  });
}

function record() {
  return whileBusy(id("record"), async () => {
    const answer = await ask(recording ? "DELETE" : "POST", "/api/v1/recording");
    const { name } = await answer.json();
    toast(answer.status === 201 ? `Recording to ${name}` : `Recorded ${name}`);
  });
}

function compare() {
  setComparing(!isComparing());
  id("compare").setAttribute("aria-pressed", String(isComparing()));
}

function fullscreen() {
  const done = document.fullscreenElement ? document.exitFullscreen() : id("stage").requestFullscreen();
  done.catch((error) => toast(error.message));
}

function step(by) {
  const at = models.findIndex((model) => model.name === settings.model);
  if (models.length > 1 && settings.regions.length === 0) change("model", models[(at + by + models.length) % models.length].name);
}

/** The next model of the region with this number, from 1. */
function stepRegion(number) {
  const region = settings.regions[number - 1];
  if (region) changeRegion({ region: region.region, model: next(region.model, models) });
}

function strengthen(by) {
  change("strength", Math.min(1, Math.max(0, Math.round(10 * (settings.strength + by)) / 10)));
}

// The keys of the terminal, and three of the page's own.
const KEYS = {
  n: () => step(1),
  ArrowRight: () => step(1),
  p: () => step(-1),
  ArrowLeft: () => step(-1),
  "+": () => strengthen(0.1),
  "=": () => strengthen(0.1),
  ArrowUp: () => strengthen(0.1),
  "-": () => strengthen(-0.1),
  ArrowDown: () => strengthen(-0.1),
  c: () => change("preserve_color", !settings.preserve_color),
  h: () => change("steady", settings.steady > 0 ? 0 : 1),
  s: snapshot,
  r: record,
  b: compare,
  f: fullscreen,
};
for (let number = 1; number <= 9; number++) KEYS[number] = () => stepRegion(number);

/** Paints in the style of a picture that was added. */
async function paintIn(model) {
  await newModels?.();
  if (settings && settings.regions.length === 0) change("model", model.name);
  toast(`Added the style of ${model.name}`);
}

let newModels;

/** Begins to listen; `readModels` has the models listed anew. */
export function listen(readModels) {
  newModels = readModels;
  takePictures(paintIn, toast);
  for (const [name, slider] of Object.entries(SLIDERS)) {
    id(name).addEventListener("input", (event) => change(name, slider.to(Number(event.target.value))));
    // Back to the middle, where there is one.
    if (name === "stroke") id(name).addEventListener("dblclick", () => ((id(name).value = 0), change(name, 1)));
  }
  id("colours").addEventListener("change", (event) => change("preserve_color", event.target.checked));
  id("snapshot").addEventListener("click", snapshot);
  id("record").addEventListener("click", record);
  id("camera").addEventListener("click", sendCamera);
  id("sound").addEventListener("click", sound);
  id("compare").addEventListener("click", compare);
  id("fullscreen").addEventListener("click", fullscreen);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !settings || document.querySelector("dialog[open]")) return;
    const arrows = event.key.startsWith("Arrow") && event.target.matches?.("input");
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || arrows || event.target.matches?.("input[type=password]")) return;
    event.preventDefault();
    act();
  });
}
