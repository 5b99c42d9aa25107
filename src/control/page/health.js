// Source, outputs, and a minute of figures as small charts.

const SAMPLES = 120;
const EVERY = 450;
const NS = "http://www.w3.org/2000/svg";
const id = (name) => document.getElementById(name);

const CHARTS = [
  { title: "Frame rate", unit: "fps", lines: ["in", "painted"], least: 5 },
  { title: "Delay", unit: "ms", lines: ["median", "99 %"], least: 20 },
  { title: "Time", unit: "ms", lines: ["wait", "paint", "out"], least: 10, shown: 1 },
  { title: "Dropped", unit: "/s", lines: ["network", "outputs"], least: 1 },
];

const history = [];
let before = null;

function element(kind, attributes = {}, ...children) {
  const made = document.createElementNS(NS, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

for (const chart of CHARTS) {
  const figure = Object.assign(document.createElement("figure"), { className: "chart" });
  const caption = document.createElement("figcaption");
  chart.value = document.createElement("b");
  caption.append(Object.assign(document.createElement("span"), { textContent: chart.title }), chart.value);
  chart.svg = element("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" });
  chart.svg.append(element("line", { class: "base", x1: 0, x2: 100, y1: 40, y2: 40 }));
  chart.drawn = chart.lines.map((_, n) => element("polyline", { class: `s${n}` }));
  chart.svg.append(...[...chart.drawn].reverse());
  const legend = Object.assign(document.createElement("div"), { className: "legend" });
  for (const [n, line] of chart.lines.entries()) {
    const entry = document.createElement("span");
    entry.append(Object.assign(document.createElement("i"), { className: `s${n}` }), line);
    legend.append(entry);
  }
  figure.append(caption, chart.svg, legend);
  id("charts").append(figure);
}

function sample(state, now) {
  const { source, network, delay, outputs } = state;
  const dropped = outputs.reduce((sum, output) => sum + output.dropped, 0);
  const newest = { now, network: network.dropped, outputs: dropped, sums: delay.sums };
  const last = before ?? newest;
  before = newest;
  const seconds = Math.max(0.001, (now - last.now) / 1000);
  const mean = (stage) => {
    const frames = newest.sums[`${stage}_frames`] - last.sums[`${stage}_frames`];
    return frames > 0 ? (1000 * (newest.sums[`${stage}_s`] - last.sums[`${stage}_s`])) / frames : null;
  };
  const rate = (name) => (now > last.now ? Math.max(0, newest[name] - last[name]) / seconds : 0);
  return [
    [source?.fps ?? 0, network.fps],
    [delay.p50_ms, delay.p99_ms],
    [mean("capture"), mean("network"), mean("output")],
    [rate("network"), rate("outputs")],
  ];
}

const short = (value) => (value === null || value === undefined ? "–" : value >= 100 ? Math.round(value) : value.toFixed(value < 10 ? 1 : 0));

function drawCharts() {
  for (const [n, chart] of CHARTS.entries()) {
    const series = history.map((entry) => entry[n]);
    const all = series.flat().filter((value) => value !== null && value !== undefined);
    const most = Math.max(chart.least, ...all) * 1.08;
    for (const [line, drawn] of chart.drawn.entries()) {
      const points = series
        .map((values, at) => [100 - ((series.length - 1 - at) * 100) / (SAMPLES - 1), values[line]])
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([x, value]) => `${x.toFixed(2)},${(40 - (38 * value) / most).toFixed(2)}`);
      drawn.setAttribute("points", points.join(" "));
    }
    const line = chart.shown ?? 0;
    // A slow network paints no frame between two states.
    const newest = series.findLast((values) => values[line] !== null && values[line] !== undefined);
    const text = `${short(newest?.[line])} ${chart.unit}`;
    chart.value.textContent = text;
    chart.svg.setAttribute("aria-label", `${chart.title} of the last minute, now ${text}`);
  }
}

/** A file without its folder; everything else as it is. */
const brief = (name) => (name.startsWith("/") && !name.startsWith("/dev/") ? name.split("/").pop() : name);

function part(state, word, name, more) {
  const item = document.createElement("li");
  item.dataset.state = state;
  item.append(Object.assign(document.createElement("span"), { className: "dot" }));
  item.append(Object.assign(document.createElement("span"), { className: "name", textContent: `${word} ${brief(name)}`, title: name }));
  item.append(Object.assign(document.createElement("span"), { className: "more", textContent: more }));
  return item;
}

const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function drawParts({ source, outputs }) {
  const parts = [];
  if (source) {
    const losses = source.losses ? `, lost ${many(source.losses, "time")} for ${source.lost_s.toFixed(0)} s` : "";
    parts.push(part(source.state, "from", source.name, `${many(source.frames, "frame")}${losses}`));
  }
  for (const output of outputs) {
    const clients = output.clients === null ? "" : `, ${many(output.clients, "client")}`;
    const dropped = output.dropped ? `, ${output.dropped.toLocaleString("en")} dropped` : "";
    const state = output.state === "open" ? "" : `${output.state}: `;
    const more = output.error ?? `${state}${many(output.frames, "frame")}${dropped}${clients}`;
    parts.push(part(output.state, "to", output.name, more));
  }
  id("parts").replaceChildren(...parts);
}

/** Shows a state. */
export function setHealth(state) {
  const { source, network, delay } = state;
  const chip = id("source");
  chip.dataset.state = source ? source.state : "waiting";
  const size = Object.assign(document.createElement("span"), { className: "size" });
  size.textContent = source ? ` · ${source.width}×${source.height}` : "";
  const lost = source?.state === "lost" ? " · no signal" : "";
  id("source-text").replaceChildren(source ? brief(source.name) : "opening the source…", size, lost);
  chip.title = source?.name ?? "";
  const strong = (text) => Object.assign(document.createElement("b"), { textContent: text });
  id("figures").replaceChildren(strong(network.fps.toFixed(1)), " fps · ", strong(delay.p50_ms === null ? "–" : Math.round(delay.p50_ms)), " ms");
  id("version").textContent = state.version;
  const now = performance.now();
  if (!before || now - before.now >= EVERY) {
    history.push(sample(state, now));
    if (history.length > SAMPLES) history.shift();
    if (!document.hidden) {
      drawCharts();
      drawParts(state);
    }
  }
}
