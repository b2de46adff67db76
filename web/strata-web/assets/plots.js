// Plots over time, one line per link. The numbers beside them are the relay's own; this script only draws.

const WINDOW_MS = 120000;
const HEIGHT = 128;
const GAP_MS = 4000;
const SVG = "http://www.w3.org/2000/svg";

const KINDS = {
  bitrate: { value: (link) => link.bitrate_bps / 1e6, unit: "Mbit/s", least: 1 },
  rtt: { value: (link) => link.rtt_ms, unit: "ms", least: 50 },
  loss: { value: (link) => link.loss_percent, unit: "%", least: 2 },
};

let points = [];

function niceCeiling(value, least) {
  const wanted = Math.max(value * 1.1, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= wanted);
}

function make(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Breaks the line where seconds are missing: no number is drawn that was not measured.
function line(link, value, x, y) {
  let path = "";
  let last = -Infinity;
  for (const point of points) {
    const found = point.links.find((entry) => entry.id === link);
    const number = found ? value(found) : null;
    if (number === null || number === undefined) { last = -Infinity; continue; }
    path += `${point.at - last > GAP_MS ? "M" : "L"}${x(point.at).toFixed(1)} ${y(number).toFixed(1)}`;
    last = point.at;
  }
  return path;
}

function draw(figure) {
  const kind = KINDS[figure.dataset.plot];
  const svg = figure.querySelector("svg");
  const width = svg.clientWidth || 300;
  const end = points.length > 0 ? points[points.length - 1].at : 0;
  const ids = [...new Set(points.flatMap((point) => point.links.map((link) => link.id)))].sort((a, b) => a - b);
  const numbers = points.flatMap((point) => point.links.map(kind.value)).filter((number) => number !== null);
  const top = niceCeiling(numbers.reduce((most, number) => Math.max(most, number), 0), kind.least);
  const x = (at) => width - ((end - at) / WINDOW_MS) * width;
  const y = (number) => HEIGHT - 5 - (number / top) * (HEIGHT - 12);
  const parts = [0.5, 1].flatMap((share) => [
    make("line", { class: "grid", x1: 0, x2: width, y1: y(top * share), y2: y(top * share) }),
    make("text", { x: 5, y: y(top * share) + 12 }, `${+(top * share).toPrecision(3)} ${kind.unit}`),
  ]);
  for (const id of ids) parts.push(make("path", { class: `l${id % 6}`, d: line(id, kind.value, x, y) }));
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren(...parts);
}

function add(fresh) {
  const known = new Set(points.map((point) => point.at));
  points = [...points, ...fresh.filter((point) => !known.has(point.at))].sort((a, b) => a.at - b.at);
  const newest = points.length > 0 ? points[points.length - 1].at : 0;
  points = points.filter((point) => point.at > newest - WINDOW_MS);
  for (const figure of document.querySelectorAll("[data-plot]")) draw(figure);
}

const box = document.querySelector("[data-history]");
if (box) {
  fetch(box.dataset.history).then((response) => (response.ok ? response.json() : { points: [] }))
    .then((history) => add(history.points)).catch(() => {});
  document.addEventListener("strata:message", (event) => { if (event.detail.point) add([event.detail.point]); });
  addEventListener("resize", () => add([]));
}
