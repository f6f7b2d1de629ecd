// The sessions page: which view is shown, and what its buttons do.

import * as account from "./account.js";
import { Away } from "./api.js";
import { begin, call, current, listen } from "./caller.js";
import * as deviceActs from "./device-acts.js";
import { Devices } from "./devices.js";
import { closeAll } from "./dialogs.js";
import { $, attempt, fill, focusOn, say } from "./dom.js";
import * as everybody from "./everybody.js";
import { enterCode, forgetCode, linkDevice, takeOffer } from "./link.js";
import * as list from "./list.js";
import { Live } from "./live.js";
import { HOME } from "./operations.js";
import { exactly } from "./time.js";
import { liveState, whyEnded } from "./words.js";

const CALM = 1_500; // ms: a connection that is back by then was never away

const devices = new Devices();
const live = new Live({ show: showState, read, replace, take: (event) => devices.take(event) });
let viewer = null;
let asAdministrator = null; // the id of the user of whom it was asked
let reading = null;

// The caller comes and goes.

listen({
  begun: () => {
    forgetCode();
    devices.clear();
    read();
    live.start();
  },
  left: () => show("outside", "welcome"),
  ended: (error) => {
    explain(error);
    show("outside", "ended");
  },
});

// The list, read over HTTP; whoever asks while it is read waits for the same answer.
function read() {
  const used = current();
  if (reading?.used !== used) {
    const mine = { used, answer: attempt(() => readAs(used), Away) };
    reading = mine;
    mine.answer.finally(() => { reading = reading === mine ? null : reading; });
  }
  return reading.answer;
}

async function readAs(used) {
  const home = await call(HOME);
  if (used === current()) { // or somebody else has signed in meanwhile, or nobody is
    replace(home);
  }
}

function replace(home) {
  viewer = home.viewer;
  account.meet(viewer);
  devices.replace(home.mySessions);
  drawUser();
  if (!$("outside").hidden || !$("opening").hidden) {
    show("home");
  }
  if (viewer.id !== asAdministrator) {
    asAdministrator = viewer.id;
    attempt(offerAdministration, Away);
  }
}

// Guests are never administrators: they need not ask.
async function offerAdministration() {
  $("views").hidden = viewer.isGuest || !(await everybody.isAdministrator());
}

function forgetCaller() {
  live.stop();
  closeAll();
  devices.clear();
  everybody.forget();
  list.show($("devices"), [], {});
  forgetCode();
  [viewer, asAdministrator] = [null, null];
  account.meet(null);
  $("views").hidden = true;
}

// Views.

function show(view, variant) {
  say("");
  for (const section of document.querySelectorAll("main > section")) {
    section.hidden = section.id !== view;
  }
  for (const part of document.querySelectorAll("#outside > [data-variant]")) {
    part.hidden = part.dataset.variant !== variant;
  }
  for (const button of $("views").children) {
    button.ariaCurrent = button.dataset.view === view ? "page" : null;
  }
  $("who").hidden = view === "outside";
  if (view === "outside") {
    forgetCaller();
  }
  focusOn([...$(view).querySelectorAll("h1")].find((heading) => heading.offsetParent));
}

function explain(error) {
  const mine = devices.mine;
  fill($("outside"), {
    whose: mine ? `This was ${mine.label}, a session of ${viewer.username}.` : "",
    why: whyEnded(error),
    when: error.revokedAt ? `It happened on ${exactly(error.revokedAt)}.` : "",
  });
}

function drawUser() {
  fill($("who"), { username: viewer.username });
  for (const part of document.querySelectorAll("[data-for]")) {
    part.hidden = part.dataset.for !== (viewer.isGuest ? "guest" : "account");
  }
}

let calming;

function showState(state) {
  clearTimeout(calming);
  const draw = () => {
    $("live").dataset.state = state;
    $("live").textContent = liveState(state);
  };
  if (state === "connecting" || state === "away") {
    calming = setTimeout(draw, CALM);
  } else {
    draw();
  }
}

// Devices.

const acts = {
  rename: (session) => attempt(() => deviceActs.rename(devices, session)),
  end: (session) => attempt(() => deviceActs.end(devices, session)),
};

devices.watch((event) => {
  list.show($("devices"), devices.all, acts);
  $("end-others").disabled = devices.others.length === 0;
  deviceActs.announce(event);
});

// Buttons.

const buttons = {
  begin: () => begin(null),
  "sign-in": () => account.signIn(),
  "enter-code": () => enterCode(viewer, null),
  link: () => linkDevice(devices, () => live.isLive || read()),
  "end-others": () => deviceActs.endOthers(devices, read),
  "end-all": () => deviceActs.endAll(),
  "sign-out": () => deviceActs.signOut(devices, viewer),
  claim: () => account.claim(),
  "change-password": () => account.changePassword(),
  "delete-account": () => account.deleteAccount(),
  home: () => show("home"),
  everybody: async () => {
    show("everybody");
    await everybody.show();
  },
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-do]");
  if (button && button.ariaBusy !== "true") {
    button.ariaBusy = "true";
    attempt(buttons[button.dataset.do]).finally(() => { button.ariaBusy = null; });
  }
});

// Who comes back to the window has seen what ended.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    devices.forgetEnded();
  }
});

function offer() {
  const code = takeOffer();
  if (code) {
    attempt(() => enterCode(viewer, code));
  }
}

// Opening.

const code = takeOffer(); // before anything is waited for: it must not stand in the address
window.addEventListener("hashchange", offer);
if (current()) {
  await read();
  if (current()) {
    live.start();
  }
} else {
  show("outside", "welcome");
}
if (code) {
  attempt(() => enterCode(viewer, code));
}
