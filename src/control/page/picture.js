// The picture: a video by WebRTC where there is a way for it. Else, and before and after, single pictures: each is asked
// for when the one before has been drawn, so that none is late and a page that nobody looks at asks for nothing.

const canvas = document.getElementById("picture");
const video = document.getElementById("video");
const stage = document.getElementById("stage");
const layer = document.getElementById("compare-layer");
const divider = document.getElementById("divider");
const notice = document.getElementById("notice");
const context = canvas.getContext("2d", { alpha: false });

let newest = 0;
let shown = null; // The newest picture, decoded: { bitmap, pair }
let live = false; // The video goes on.
let any = false; // There has been a picture.
let comparing = false;
let wanted = new AbortController();
let drawn = performance.now();
let every = 1000; // Between two pictures, on average.
let trouble = null;

/** Numbers begin again with a new run of the program. */
export function restart() {
  newest = 0;
  wanted.abort();
}

/** Says over the picture what is wrong, or nothing. */
export function setTrouble(text) {
  trouble = text;
  tell();
}

export function isComparing() {
  return comparing;
}

export function setComparing(on) {
  comparing = on;
  choose();
  layer.hidden = !on || !shown;
  // The next picture is of the other kind; the newest may be asked for once more.
  newest = 0;
  wanted.abort();
  draw();
}

/** The video has shown a frame. */
export function videoFrame(now) {
  if (any) every += 0.2 * (now - drawn - every);
  drawn = now;
  any = true;
  if (!live) {
    live = true;
    choose();
    // What is still on its way is not needed.
    if (!comparing) wanted.abort();
  }
}

/** The video has stopped. */
export function videoGone() {
  if (!live) return;
  live = false;
  every = 1000;
  choose();
}

let chosen = () => {};
/** Shows the video, or single pictures. */
function choose() {
  video.hidden = !live || comparing;
  canvas.hidden = !video.hidden;
  chosen();
}

/** Waits until single pictures are needed. */
async function needed() {
  while (live && !comparing) await new Promise((done) => (chosen = done));
}

function tell() {
  // A slow network is not a picture that stands.
  const late = performance.now() - drawn > Math.max(3000, 4 * every) && !document.hidden;
  const text = trouble ?? (any ? (late ? "No new picture" : null) : "Waiting for the picture…");
  notice.hidden = !text;
  if (text && notice.textContent !== text) notice.textContent = text;
  stage.classList.toggle("stale", Boolean(trouble) || late);
}

function draw() {
  if (!shown) return;
  const { bitmap, pair } = shown;
  const width = pair ? bitmap.width / 2 : bitmap.width;
  if (canvas.width !== width || canvas.height !== bitmap.height) {
    canvas.width = width;
    canvas.height = bitmap.height;
  }
  context.drawImage(bitmap, bitmap.width - width, 0, width, bitmap.height, 0, 0, width, bitmap.height);
  layer.hidden = !comparing || !pair;
  if (!comparing || !pair) return;
  // The divider lies over the whole stage, the picture may be narrower.
  const box = canvas.getBoundingClientRect();
  const over = stage.getBoundingClientRect();
  const ratio = width / bitmap.height;
  const seen = Math.min(box.width, box.height * ratio);
  const left = box.left - over.left + (box.width - seen) / 2;
  const at = (Number(divider.value) / 100) * over.width;
  const cut = Math.round(Math.min(1, Math.max(0, (at - left) / seen)) * width);
  layer.style.setProperty("--at", `${at}px`);
  if (cut > 0) context.drawImage(bitmap, 0, 0, cut, bitmap.height, 0, 0, cut, bitmap.height);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const visible = () =>
  new Promise((done) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });

/** Shows pictures for ever. */
export async function show() {
  divider.addEventListener("input", draw);
  addEventListener("resize", draw);
  setInterval(tell, 500);
  for (;;) {
    if (document.hidden) await visible();
    await needed();
    wanted = new AbortController();
    const pair = comparing;
    try {
      const late = setTimeout(() => wanted.abort(), 12000);
      const answer = await fetch(`/api/v1/picture?after=${newest}&pair=${pair}`, {
        signal: wanted.signal,
        cache: "no-store",
      });
      if (answer.status !== 200) {
        clearTimeout(late);
        if (answer.status !== 204) await pause(1000);
        continue;
      }
      const number = Number(answer.headers.get("X-Picture"));
      const bitmap = await createImageBitmap(await answer.blob());
      clearTimeout(late);
      shown?.bitmap.close();
      shown = { bitmap, pair };
      if (number > newest && newest > 0) every += 0.2 * (performance.now() - drawn - every);
      newest = number;
      drawn = performance.now();
      any = true;
      draw();
      tell();
    } catch (error) {
      if (error.name !== "AbortError") await pause(1000);
    }
  }
}
