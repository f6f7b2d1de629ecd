// Linking a second device: a code, to be typed or photographed there.
//
// The QR code holds this page's address with the code behind the #, the part of a URL that browsers
// send nowhere. It is drawn here, so the code travels no further than from the server and back.

import { freshly, warn } from "./account.js";
import { act, begin } from "./caller.js";
import { STAY, converse } from "./dialogs.js";
import { $, fill, say } from "./dom.js";
import { LINK_CODE } from "./operations.js";
import { secondsUntil } from "./time.js";

const MARK = "#link=";
const CODE = /^[0-9A-Za-z -]{1,40}$/;
const WORTH_SHOWING = 30; // seconds that a code must be good for
const QUIET = 4; // modules around a QR code: ISO 18004 asks for them
const LOOK = 3_000; // ms

let made = null; // the last code that was made: there may be few at once, so it is shown again

export const forgetCode = () => { made = null; };

// The code that the page was opened with. It leaves the address and the history at once.
export function takeOffer() {
  if (!location.hash.startsWith(MARK)) {
    return null;
  }
  const code = decode(location.hash.slice(MARK.length));
  history.replaceState(null, "", location.pathname + location.search);
  return CODE.test(code) ? code : null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

// Shows a code until a device has used it. look(): reads the list again where nothing is live.
export async function linkDevice(devices, look) {
  if (!made || secondsUntil(made.expiresAt) < WORTH_SHOWING) {
    made = await freshly(() => act(LINK_CODE));
  }
  await converse("link", {
    prepare: (form, finish) => showCode(form, () => finish(true), devices, look),
    submit: async (_, form) => { // the button that makes another one
      made = await freshly(() => act(LINK_CODE));
      await draw(form);
      return STAY;
    },
  });
}

function showCode(form, finish, devices, look) {
  draw(form);
  const counting = setInterval(() => count(form), 1000);
  const looking = setInterval(look, LOOK);
  const unwatch = devices.watch(({ kind }) => {
    if (kind === "CREATED") {
      made = null; // used
      finish();
    }
  });
  return () => {
    clearInterval(counting);
    clearInterval(looking);
    unwatch();
  };
}

async function draw(form) {
  fill(form, { code: made.code });
  count(form);
  const canvas = form.querySelector("canvas");
  const library = await import("./lean-qr.js").catch(() => null); // fetched at set-up, or not yet
  canvas.hidden = !library;
  library?.generate(address()).toCanvas(canvas, { pad: QUIET, off: [255, 255, 255] });
}

function address() {
  return location.origin + location.pathname + MARK + made.code;
}

function count(form) {
  const seconds = Math.max(0, secondsUntil(made.expiresAt));
  const rest = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  fill(form, { countdown: seconds ? `Good for ${rest} minutes, once.` : "This code is over." });
  form.classList.toggle("over", seconds === 0);
  form.querySelector("[type=submit]").hidden = seconds > 0;
}

$("copy-link").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(address());
    fill($("link"), { copied: "Copied. Open it on the other device." });
  } catch {
    fill($("link"), { copied: "This browser does not let pages copy. Type the code instead." });
  }
});

// Signs this window in by a code. It asks first, whoever made the link: it may be a stranger's.
export async function enterCode(viewer, offered) {
  const done = await converse("enter-code", {
    prepare: (form) => {
      warn(form, viewer);
      form.elements.code.value = offered ?? "";
      fill(form, {
        offer: offered
          ? "You opened a link that signs this window in. Go on only if you made it yourself."
          : "",
      });
    },
    submit: ({ code }) => begin({ linkCode: { code } }),
  });
  if (done) {
    say("This device is linked.");
  }
}
