// Keeps a page true: ages count on, stale values grey out, and what the relay tells over its WebSocket replaces what is shown.
// The relay renders; this script only puts the new text where the old one was, so that both ways show the same words.

const offset = Date.now() - Number(document.body.dataset.now);
const relayNow = () => Date.now() - offset;

function ago(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds === 0) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function countAges() {
  for (const element of document.querySelectorAll("[data-at]")) {
    const age = relayNow() - Number(element.dataset.at);
    if ("ago" in element.dataset) {
      const words = ago(age);
      if (element.textContent !== words) element.textContent = words;
    }
    if (Number(element.dataset.staleMs) > 0) element.classList.toggle("stale", age > Number(element.dataset.staleMs));
  }
}

// Makes `old` equal to `fresh` and touches only what differs: focus, selection and open details stay.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  morphAttributes(old, fresh);
  const olds = [...old.childNodes];
  const freshes = [...fresh.childNodes];
  freshes.forEach((node, index) => (index < olds.length ? morph(olds[index], node) : old.append(node)));
  olds.slice(freshes.length).forEach((node) => node.remove());
}

function morphAttributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const kept = old.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
}

function show(parts) {
  for (const [id, html] of Object.entries(parts)) {
    const old = document.getElementById(id);
    if (!old || old.contains(document.activeElement?.closest("form"))) continue;
    const fresh = old.cloneNode(false);
    fresh.innerHTML = html;
    morph(old, fresh);
  }
}

function receive(text) {
  const message = JSON.parse(text);
  if (message.reload) {
    location.reload();
    return;
  }
  if (message.html) show(message.html);
  document.dispatchEvent(new CustomEvent("strata:message", { detail: message }));
  countAges();
}

// Back after 1, 2, 4 … 15 s, a little spread so that a relay's restart does not bring everybody at once.
function connect(topics, attempt = 0) {
  const sign = document.getElementById("not-live");
  const socket = new WebSocket(new URL("/api/ws", location.href.replace(/^http/, "ws")));
  let opened = false;
  socket.onopen = () => {
    opened = true;
    socket.send(JSON.stringify({ subscribe: topics, as: "page" }));
    if (sign) sign.hidden = true;
  };
  socket.onmessage = (event) => receive(event.data);
  socket.onclose = (event) => {
    if (sign) sign.hidden = false;
    if (event.code === 4401) {
      location.reload(); // the session is over: the relay shows the login
      return;
    }
    const next = opened ? 0 : attempt + 1;
    const wait = Math.min(15000, 1000 * 2 ** next) * (0.75 + Math.random() / 2);
    setTimeout(() => connect(topics, next), wait);
  };
}

const topics = document.body.dataset.topics.split(" ").filter(Boolean);
if (topics.length > 0) connect(topics);
document.querySelector(".nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
setInterval(countAges, 500);
countAges();
