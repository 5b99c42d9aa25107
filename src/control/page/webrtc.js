// The picture and its sound by WebRTC (WHEP), and this browser's camera as the source (WHIP). Where there is no way for
// WebRTC, the page goes on with single pictures.

import { isAsked } from "./api.js";

// How long a connection may take until it is open, and how long it may be silent.
const OPENS = 6000;
const SILENT = 3000;
// The pause after a failure is doubled up to this.
const LONGEST_PAUSE = 60000;
// A page that nobody sees lets its connection go after this time.
const UNSEEN = 10000;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

let tryAgain = () => {};
/** Ends the pause after a failure: the program answers (again), or somebody has signed in. */
export function retry() {
  tryAgain();
}

/** Sends an offer to `path`, and takes the answer: the address of the connection. */
async function connect(peer, path) {
  await peer.setLocalDescription();
  // No candidates are waited for: the program learns this browser's address from its packets.
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: peer.localDescription.sdp,
    cache: "no-store",
  });
  const text = await answer.text();
  if (!answer.ok) {
    let why = answer.statusText;
    try {
      why = JSON.parse(text).error ?? why;
    } catch {
      // Not the program's own answer.
    }
    throw new Error(why);
  }
  const address = answer.headers.get("Location");
  await peer.setRemoteDescription({ type: "answer", sdp: text });
  return address;
}

function leave(address) {
  if (address) fetch(address, { method: "DELETE", keepalive: true }).catch(() => {});
}

/** Waits until a connection is open. */
function opened(peer) {
  return new Promise((done, fail) => {
    const late = setTimeout(() => fail(new Error("no way for WebRTC")), OPENS);
    const look = () => {
      if (peer.connectionState === "connected") done();
      else if (["failed", "closed"].includes(peer.connectionState)) fail(new Error("no way for WebRTC"));
      else return;
      clearTimeout(late);
    };
    peer.addEventListener("connectionstatechange", look);
    look();
  });
}

const seen = (wanted) =>
  new Promise((done) => {
    const look = () => {
      if (document.hidden === wanted) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });

/**
 * Shows the run in `video` for ever, as long as and whenever that works. `onFrame` is called with each frame shown,
 * `onSound` when sound comes, `onGone` when the picture stops.
 */
export async function show(video, onFrame, onSound, onGone) {
  if (!isAsked("webrtc") || !globalThis.RTCPeerConnection) return;
  let wait = 1000;
  for (;;) {
    if (document.hidden) await seen(true);
    const peer = new RTCPeerConnection();
    let address = null;
    let hidden = null;
    let newest = performance.now();
    const goes = () => leave(address);
    addEventListener("pagehide", goes);
    const watch = () => {
      clearTimeout(hidden);
      newest = performance.now();
      // Whoever listens keeps it.
      if (document.hidden && video.muted) hidden = setTimeout(() => peer.close(), UNSEEN);
    };
    document.addEventListener("visibilitychange", watch);
    try {
      let any = false;
      const frame = () => {
        if (video.srcObject === null || peer.connectionState === "closed") return;
        newest = performance.now();
        any = true;
        wait = 1000;
        onFrame(newest);
        video.requestVideoFrameCallback(frame);
      };
      // A video that has nothing to show yet would hold up the page's load event: it begins with the first packets. Those of
      // a run that waits for its source come late.
      const begin = () => {
        video.srcObject = new MediaStream(peer.getReceivers().map((receiver) => receiver.track));
        video.requestVideoFrameCallback(frame);
        video.play().catch(() => {});
      };
      for (const kind of ["video", "audio"]) {
        const { receiver } = peer.addTransceiver(kind, { direction: "recvonly" });
        if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
        receiver.track.addEventListener("unmute", kind === "audio" ? onSound : begin, { once: true });
      }
      address = await connect(peer, "/whep");
      await opened(peer);
      newest = performance.now();
      while (peer.connectionState === "connected") {
        await pause(500);
        const silent = performance.now() - newest > SILENT;
        if (any && silent && !document.hidden) {
          any = false;
          onGone();
        }
      }
    } catch (error) {
      console.info(`nst-stream: ${error.message}; showing single pictures`);
    }
    removeEventListener("pagehide", goes);
    document.removeEventListener("visibilitychange", watch);
    clearTimeout(hidden);
    leave(address);
    peer.close();
    video.srcObject = null;
    onGone();
    await Promise.race([pause(wait), new Promise((done) => (tryAgain = done))]);
    wait = Math.min(2 * wait, LONGEST_PAUSE);
  }
}

/** This browser's camera as the source of the run. */
export class Camera {
  #stream = null;
  #peer = null;
  #address = null;

  constructor() {
    addEventListener("pagehide", () => leave(this.#address));
  }

  get isOn() {
    return this.#stream !== null;
  }

  /** Begins to send; `onEnd` is called with why it has ended. */
  async start({ width, height, fps }, onEnd) {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give their camera to HTTPS pages and to 127.0.0.1 only: start nst-stream with --tls-cert");
    }
    const video = { width: { ideal: width ?? 640 }, height: { ideal: height ?? 360 }, frameRate: { ideal: fps ?? 30 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    this.#stream = stream;
    try {
      await this.#connect();
    } catch (error) {
      await this.stop();
      throw error;
    }
    for (const track of stream.getTracks()) track.addEventListener("ended", () => this.#ended("The camera has gone", onEnd));
    this.#peer.addEventListener("connectionstatechange", () => {
      if (this.#peer?.connectionState === "failed") this.#ended("The connection of the camera is lost", onEnd);
    });
  }

  async #connect() {
    const peer = new RTCPeerConnection();
    this.#peer = peer;
    for (const track of this.#stream.getTracks()) {
      const { sender } = peer.addTransceiver(track, { direction: "sendonly", streams: [this.#stream] });
      const parameters = sender.getParameters();
      // A run keeps its first size: where the line is slow, frames are left out.
      parameters.degradationPreference = "maintain-resolution";
      await sender.setParameters(parameters).catch(() => {});
    }
    this.#address = await connect(peer, "/whip");
    await opened(peer);
  }

  async #ended(text, onEnd) {
    if (!this.isOn) return;
    await this.stop();
    onEnd(text);
  }

  async stop() {
    leave(this.#address);
    this.#peer?.close();
    this.#stream?.getTracks().forEach((track) => track.stop());
    [this.#peer, this.#address, this.#stream] = [null, null, null];
  }
}
