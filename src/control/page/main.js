// The page of a live run. All it loads and shows comes from the program itself.

import { ask, signInByLink, watch } from "./api.js";
import { listen, setModels, setPublisher, setRecording, setSettings, setSound } from "./controls.js";
import { setHealth } from "./health.js";
import { restart, setTrouble, show, videoFrame, videoGone } from "./picture.js";
import * as webrtc from "./webrtc.js";

const id = (name) => document.getElementById(name);
let connected = false;
let modelsDue = 0;
let listed = "";

async function readModels() {
  const models = await (await ask("GET", "/api/v1/models")).json();
  setModels(models);
  listed = JSON.stringify(models.map((model) => model.name));
  // Thumbnails come with the first frame.
  modelsDue = models.length > 0 && models.every((model) => model.thumbnail) ? Infinity : performance.now() + 2000;
}

function onState(state) {
  setSettings(state.settings);
  setRecording(state.recording);
  setPublisher(state.publisher);
  setHealth(state);
  setTrouble(null);
  // Pictures that are sent become models.
  if (performance.now() > modelsDue || (listed && JSON.stringify(state.models) !== listed)) {
    modelsDue = performance.now() + 2000;
    readModels().catch(() => {});
  }
}

function onConnection(now) {
  if (now && !connected) {
    restart();
    webrtc.retry();
    modelsDue = 0;
  }
  connected = now;
  setTrouble(now ? null : "Connection lost; trying again…");
  if (!now) {
    id("source").dataset.state = "lost";
    id("source-text").textContent = "no connection";
  }
}

await signInByLink();
listen(readModels);
show();
webrtc.show(id("video"), videoFrame, setSound, videoGone);
const reopen = watch(onState, onConnection, () => {
  const dialog = id("sign-in");
  if (!dialog.open) dialog.showModal();
});

id("sign-in").addEventListener("cancel", (event) => event.preventDefault());
id("sign-in").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("POST", "/api/v1/session", { token: id("token").value.trim() });
    id("token").value = "";
    id("sign-in-error").textContent = "";
    id("sign-in").close();
    reopen();
  } catch (error) {
    id("sign-in-error").textContent = error.message;
  }
});
