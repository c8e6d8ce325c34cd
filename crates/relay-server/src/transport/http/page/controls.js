// The controls of the page, and when they are out of the picture's way.
"use strict";

// Milliseconds without a touch or a key after which the controls leave a picture that they lie on.
const IDLE_AFTER = 3000;
// JPEG quality of a snapshot with boxes in it.
const SNAPSHOT_QUALITY = 0.92;
// Width of a picture on which the lines and letters of a snapshot have the size that they have on the page.
const SNAPSHOT_WIDTH = 640;

$("camera").onchange = () => {
  chosenCamera = $("camera").value;
  query.set("camera", chosenCamera);
  history.replaceState(null, "", "?" + query);
  retries = 0;
  selectCamera(chosenCamera);
  connect();
};

$("toggle").onclick = () => {
  showBoxes = !showBoxes;
  $("toggle").setAttribute("aria-pressed", String(showBoxes));
  store("boxes", showBoxes ? "on" : "off");
  draw();
};
$("toggle").setAttribute("aria-pressed", String(showBoxes));

// Returns the picture as it is shown: without boxes the frame as it came, else a JPEG with the boxes of this moment.
async function takeSnapshot() {
  const source = frame ? $("picture") : $("motion");
  const width = frame ? source.width : source.naturalWidth, height = frame ? source.height : source.naturalHeight;
  if (source.hidden || !width || !height) return null;
  const shown = showBoxes ? currentBoxes() : null;
  const visible = shown && shown.opacity && shown.boxes.some(item => !hiddenClasses.has(item.label));
  if (frame && !visible) return frame.blob;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, width, height);
  if (visible) drawBoxes(context, shown, Math.max(width / SNAPSHOT_WIDTH, 1));
  return new Promise(done => canvas.toBlob(done, "image/jpeg", SNAPSHOT_QUALITY));
}

$("snapshot").onclick = async () => {
  const name = (camera + "-" + (frame ? frame.seq : Date.now()) + ".jpg").replace(/\s/g, "_");
  const blob = await takeSnapshot();
  if (!blob) return setStatus(document.body.dataset.state, "There is no picture to take");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

// On phones that give no element the whole screen, the picture fills the window.
$("full").onclick = () => {
  const main = document.querySelector("main");
  const fillWindow = () => { document.body.classList.add("full"); draw(); };
  if (main.requestFullscreen) main.requestFullscreen().catch(fillWindow);
  else fillWindow();
};
$("view").onclick = () => {
  if (document.fullscreenElement) document.exitFullscreen();
  document.body.classList.remove("full");
  draw();
};

// The relay renews the cookie with an answer once a day, and a page that is open for weeks may send no other request.
const RENEW_INTERVAL = 12 * 3600 * 1000;

function addSignOut() {
  const button = document.createElement("button");
  Object.assign(button, { id: "sign-out", type: "button", textContent: "Sign out" });
  button.onclick = () =>
    signOut().then(() => location.reload()).catch(() => setStatus(document.body.dataset.state, "The relay does not answer"));
  $("camera").after(button);
  setInterval(() => fetchCameras().catch(() => {}), RENEW_INTERVAL);
}
if (document.body.dataset.signedIn === "true") addSignOut();

// ---- the controls' place: on a window of little height they lie on the picture, and leave it while they are not used

if (["", "1", "on", "true"].includes(query.get("bare"))) document.body.classList.add("bare");

let idleTimer = 0;
function showControls() {
  document.body.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => document.body.classList.add("idle"), IDLE_AFTER);
}
for (const use of ["pointerdown", "pointermove", "keydown"]) addEventListener(use, showControls);
showControls();
