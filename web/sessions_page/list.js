// The list of devices as it is seen: one element for each session, changed in its place.

import { fill, made } from "./dom.js";
import { putTime } from "./time.js";
import { deviceName, howEnded } from "./words.js";

const ICONS = new Set(["desktop", "mobile", "tablet", "bot"]);

// Makes a list show sessions. acts: what its buttons do, by their data-act, with a session.
export function show(list, sessions, acts) {
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  for (const session of sessions) {
    const item = known.get(session.id) ?? added(list, session, acts);
    known.delete(session.id);
    draw(item, session);
  }
  for (const item of known.values()) {
    item.remove();
  }
}

function added(list, session, acts) {
  const item = made("device");
  item.dataset.id = session.id;
  for (const button of item.querySelectorAll("[data-act]")) {
    button.addEventListener("click", () => acts[button.dataset.act](item.session));
  }
  list.append(item);
  return item;
}

function draw(item, session) {
  item.session = session;
  item.classList.toggle("ended", Boolean(session.hasEnded));
  drawFacts(item, session);
  for (const button of item.querySelectorAll("[data-act]")) {
    button.setAttribute("aria-label", `${button.textContent} ${session.label}`);
  }
  item.querySelector("[data-act=end]").hidden = session.isCurrent;
}

// What a device and a line of the administrators' list have in common.
export function drawFacts(item, session) {
  const { client } = session;
  const kind = ICONS.has(client.deviceType) ? client.deviceType : "unknown";
  item.querySelector("use").setAttribute("href", `#icon-${kind}`);
  const hasEnded = session.hasEnded || session.status !== "ACTIVE";
  fill(item, {
    label: session.label,
    mark: hasEnded ? howEnded(session) : session.isCurrent ? "this device" : "",
    client: deviceName(client),
    address: client.ipAddress ?? "",
  });
  for (const time of item.querySelectorAll("time")) {
    putTime(time, session[time.dataset.of]);
  }
}
