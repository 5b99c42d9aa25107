// Talks to the program: requests as JSON, and the stream of states.

/** Whether the page's address leaves something on: `?webrtc=off` shows single pictures. */
export function isAsked(name) {
  return new URLSearchParams(location.search).get(name) !== "off";
}

/** An answer that says why something was not done. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** Sends a request; fails with what the program says is wrong. */
export async function ask(method, path, body) {
  const options = { method, cache: "no-store" };
  if (body instanceof Blob) {
    options.headers = { "Content-Type": body.type };
    options.body = body;
  } else if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  let text = answer.statusText;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // Not the program's own answer: its status says enough.
  }
  throw new Refused(answer.status, text);
}

/** Takes the token out of the link, so that neither the history nor a bookmark keeps it. */
export async function signInByLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);
  await ask("POST", "/api/v1/session", { token }).catch(() => {});
}

/**
 * Calls `onState` with each state, and `onConnection` with whether the program answers. Tries again for ever; `onRefused`
 * is called when a token is needed.
 */
export function watch(onState, onConnection, onRefused) {
  let source;
  let again;
  const open = () => {
    clearTimeout(again);
    source?.close();
    source = new EventSource("/api/v1/events");
    source.addEventListener("open", () => onConnection(true));
    source.addEventListener("state", (event) => {
      alive();
      onState(JSON.parse(event.data));
    });
    source.addEventListener("error", async () => {
      source.close();
      onConnection(false);
      const refused = await ask("GET", "/api/v1/settings").then(() => false, (error) => error.status === 401);
      if (refused) onRefused();
      again = setTimeout(open, refused ? 3000 : 1000);
    });
    alive();
  };
  // A connection that is cut without a word: states come twice a second.
  let silence;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      if (document.hidden) return alive();
      onConnection(false);
      open();
    }, 8000);
  };
  open();
  return open;
}

/** Two changes as one; a region that both name is joined. */
function joined(before, change) {
  if (!before?.regions || !change.regions) return { ...before, ...change };
  const regions = new Map(before.regions.map((region) => [region.region, region]));
  for (const region of change.regions) regions.set(region.region, { ...regions.get(region.region), ...region });
  return { ...before, ...change, regions: [...regions.values()] };
}

/** Sends changes of settings, one request at a time, the newest values of each. */
export function settingsSender(onError) {
  let waiting = null;
  let busy = false;
  const send = async () => {
    if (busy || !waiting) return;
    busy = true;
    const change = waiting;
    waiting = null;
    try {
      await ask("PATCH", "/api/v1/settings", change);
    } catch (error) {
      onError(error);
    }
    busy = false;
    send();
  };
  return (change) => {
    waiting = joined(waiting, change);
    send();
  };
}
