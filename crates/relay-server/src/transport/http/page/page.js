// The page: cameras, connection, picture and controls. boxes.js has the boxes.
"use strict";
const $ = id => document.getElementById(id);

// All times are milliseconds, but for those of the ageing rule and of detections messages, which are seconds.
// A picture is stale after a second without a frame, or after three frame intervals if frames are slower.
const STALE_AFTER = 1000, STALE_INTERVALS = 3;
// A gap between two frames above this does not count for the frame interval.
const MAX_INTERVAL = 30000;
// Detections messages kept of each kind: two seconds of tracked ones at 30 a second, and enough inferred ones to see how
// often the model runs.
const MAX_TRACKED = 64, MAX_INFERRED = 8;
// Seconds between a message and a frame of one number, above which they are of two runs of the sender; and the greatest
// age of boxes of the model alone, without a tracker.
const SAME_RUN = 1;
// What a time in seconds may lose as a decimal number.
const TIME_ERROR = 1e-5;
// Interval of clock exchanges; a relay that sends nothing for twice as long is gone.
const PING_INTERVAL = 5000;
// Longest wait for an answer, or for a socket to open.
const TIMEOUT = 4000;
// Interval of attempts to open a socket during the MJPEG fallback.
const PROBE_INTERVAL = 60000;
// Interval of requests for the list of cameras while it changes.
const LIST_INTERVAL = 200;
// Greatest age that a picture can have, and largest error of a comparison of clocks that tells an age: as in the viewer.
const OLDEST = 7 * 24 * 3600 * 1000, MAX_CLOCK_ERROR = 1000;
// The same for a camera whose clock is not compared: by wall clocks, which may be wrong.
const OLDEST_ASSUMED = 60000, AHEAD_ASSUMED = 50;
// Time after which a hidden page disconnects.
const HIDDEN_TIMEOUT = 10000;
const MAX_CLASSES = 100, MAX_TEXT = 64;
// Boxes of a frame that are drawn, those with the best scores: Detections::MAX_DRAWN of crates/protocol.
const MAX_DRAWN = 100;

const query = new URLSearchParams(location.search);
let chosenCamera = query.get("camera");
let cameras = [], camera = null;
let tracked = [], inferred = [], frame = null, arrivals = [], frameInterval = 100;
let cameraInfo = {}, clock = null;
// Width and height of the frames as they came, while smaller ones are sent.
let renditionOf = null;
let socket = null, failedSockets = 0, retries = 0, retryTimer = 0, eventSource = null, lastReceived = 0;
// The number of the newest attempt to connect: answers to earlier ones are ignored. The reason why there is no connection;
// and whether the relay has signed this page out, so that a further attempt would fail as well.
let attempt = 0, failure = "", signedOut = false;
// Age of the relay's newest frame at the time of the connection; 0 after that frame has come.
let initialAge = 0;
let mjpegStale = false, lastPoll = 0, listTimer = 0;
let showBoxes = stored("boxes") !== "off";
const hiddenClasses = new Set((stored("hidden") || "").split("\n").filter(Boolean));
const classButtons = new Map();

function stored(key) {
  try { return localStorage.getItem("sightline." + key); } catch { return null; }
}
function store(key, value) {
  try { localStorage.setItem("sightline." + key, value); } catch { /* the browser permits no storage */ }
}

const relayUrl = path => new URL(path, location.href);
const cameraUrl = path => relayUrl("cam/" + encodeURIComponent(camera) + "/" + path);

function setStatus(state, message) {
  // A screen reader announces changes only, not each second that passes.
  if (document.body.dataset.state !== state || state === "waiting" && $("words").textContent !== message) {
    $("status").textContent = state === "live" ? "" : message;
  }
  document.body.dataset.state = state;
  if ($("words").textContent !== message) $("words").textContent = message;
  document.title = (camera ? camera + (state === "stale" ? " (stale)" : "") + " - " : "") + "Sightline";
}

function setStale(ms) {
  setStatus("stale", "STALE " + (ms / 1000).toFixed(1) + " s" + (failure && ": " + failure));
}

// Shows why there is no connection; if there is a picture, the reason appears with its age once it is stale.
function setFailure(reason) {
  failure = reason;
  if (!frame || !$("motion").hidden) setStatus("waiting", reason);
}

// ---- the list of cameras

async function fetchCameras() {
  const answer = await fetch(relayUrl("api/cameras"), { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (answer.status === 401) {
    // The login takes the place of this page.
    signedOut = true;
    location.reload();
  }
  if (!answer.ok) throw new Error((await answer.text()).trim().slice(0, 200));
  cameras = await answer.json();
  showCameraChoices();
}

// Returns the reason of a failed request: the relay's answer, if there was one.
const failureReason = error => error.name === "Error" ? error.message : "the relay does not answer";
const findCamera = name => cameras.find(item => item.name === name);

function showCameraChoices() {
  const names = cameras.map(item => item.name);
  if (camera && !names.includes(camera)) names.push(camera);
  const options = names.map(name => {
    const found = findCamera(name);
    const note = !found ? " (not here)" : found.live ? "" : " (silent)";
    return new Option(name + note, name, false, name === camera);
  });
  const choices = JSON.stringify(options.map(o => [o.text, o.selected]));
  if (choices !== $("camera").dataset.now) {
    $("camera").replaceChildren(...options);
    $("camera").dataset.now = choices;
  }
  $("camera").hidden = !names.length;
}

function selectCamera(name) {
  if (name === camera) return;
  camera = name;
  tracked = []; inferred = []; frame = null; arrivals = []; frameInterval = 100; cameraInfo = {}; failedSockets = 0;
  $("picture").setAttribute("aria-label", "Picture of " + camera);
  for (const canvas of [$("picture"), $("boxes")]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  setStatus("waiting", "Waiting for a frame");
  showCameraChoices();
}

// ---- the connection

function scheduleReconnect(atOnce) {
  clearTimeout(retryTimer);
  if (document.hidden || signedOut) return;
  retryTimer = setTimeout(connect, atOnce ? 0 : Math.min(250 * 2 ** retries++, 4000));
}

function disconnect() {
  clearTimeout(retryTimer);
  attempt++;
  const old = socket;
  socket = null;
  if (old) old.close();
  if (eventSource) eventSource.close();
  eventSource = null;
  $("motion").removeAttribute("src");
}

function reconnect() {
  disconnect();
  scheduleReconnect();
}

async function connect() {
  disconnect();
  const current = attempt;
  try {
    await fetchCameras();
  } catch (error) {
    if (current !== attempt) return;
    setFailure(failureReason(error));
    return scheduleReconnect();
  }
  if (current !== attempt) return;
  const first = cameras.find(item => item.live) || cameras[0];
  const name = chosenCamera || (first && first.name);
  const found = findCamera(name);
  if (name) selectCamera(name);
  if (!found) {
    const others = cameras.map(item => item.name).join(", ");
    const missing = "camera " + name + " is not here" + (others && "; these are: " + others);
    const reason = name ? missing : await noCameraReason();
    if (current !== attempt) return;
    setFailure(reason);
    retries = Math.min(retries, 2);
    return scheduleReconnect();
  }
  if (!frame) {
    setStatus("waiting", "Waiting for a frame");
    if (found.fps) frameInterval = 1000 / found.fps;
  }
  initialAge = found.age_ms;
  if (failedSockets < 2) startSocket(); else startMjpeg();
}

// Returns why there is no camera: the relay knows what other software sends to it in place of pictures.
async function noCameraReason() {
  const unknown = "no camera has appeared yet";
  try {
    const answer = await fetch(relayUrl("readyz"), { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    const [, reason] = (await answer.text()).trim().split("no camera is live: ");
    return reason ? reason.slice(0, 300) : unknown;
  } catch {
    return unknown;
  }
}

// Opens a WebSocket for the camera, without handlers yet.
function openSocket() {
  const url = cameraUrl("ws");
  url.protocol = url.protocol.replace("http", "ws");
  const opened = new WebSocket(url);
  opened.binaryType = "arraybuffer";
  return opened;
}

function startSocket() {
  let current;
  try {
    current = openSocket();
  } catch {
    failedSockets++;
    return scheduleReconnect();
  }
  let opened = false;
  socket = current;
  current.since = lastReceived = performance.now();
  renditionOf = null;
  current.onopen = () => {
    opened = true;
    failedSockets = retries = 0;
    failure = "";
    $("motion").hidden = true;
    $("picture").hidden = false;
    sendPing();
  };
  current.onmessage = ({ data }) => {
    if (socket !== current) return;
    lastReceived = performance.now();
    if (typeof data === "string") return handleMessage(data);
    showFrame(data).catch(() => {}).then(() => { if (current.readyState === 1) current.send(new Uint8Array(0)); });
  };
  current.onclose = () => {
    if (socket !== current) return;
    socket = null;
    if (!opened) failedSockets++;
    scheduleReconnect();
  };
}

// MJPEG has no frame numbers, so the newest boxes are drawn on the picture. An <img> has no event for the end of its
// stream; the stream of boxes, which takes the same path, has one.
function startMjpeg() {
  const motion = $("motion");
  $("picture").hidden = true;
  motion.hidden = false;
  motion.onerror = () => { if (eventSource) reconnect(); };
  motion.src = cameraUrl("stream.mjpg");
  frame = null;
  clock = null;
  eventSource = new EventSource(cameraUrl("detections"));
  eventSource.onmessage = ({ data }) => handleMessage(data);
  eventSource.onerror = reconnect;
  retryTimer = setTimeout(probeSocket, PROBE_INTERVAL);
}

// Tries whether a socket opens by now; the MJPEG stream goes on meanwhile.
function probeSocket() {
  let probe;
  const probeLater = () => { retryTimer = setTimeout(probeSocket, PROBE_INTERVAL); };
  try {
    probe = openSocket();
  } catch {
    return probeLater();
  }
  const current = attempt;
  const timeout = setTimeout(() => probe.close(), TIMEOUT);
  probe.onopen = () => {
    probe.onclose = null;
    clearTimeout(timeout);
    probe.close();
    if (current === attempt) { failedSockets = 0; connect(); }
  };
  probe.onclose = () => { clearTimeout(timeout); if (current === attempt) probeLater(); };
}

// The clock of exchanges runs on when the wall clock is set.
const steadyMicros = () => Math.round((performance.timeOrigin + performance.now()) * 1000);

function sendPing() {
  if (socket && socket.readyState === 1) socket.send(JSON.stringify({ ping: { t1: steadyMicros() } }));
}

function handleMessage(json) {
  let message;
  try { message = JSON.parse(json); } catch { return; }
  if (message.pong) updateClock(message.pong);
  else if (message.camera && message.camera.name) cameraInfo = message.camera;
  else if (Array.isArray(message.cameras)) refreshCameras();
  else if ("rendition_of" in message) renditionOf = message.rendition_of;
  else if (message.v === 1 && Array.isArray(message.detections)) addDetections(message);
}

function addDetections(message) {
  message.received = performance.now();
  const items = message.detections.filter(item => item && Array.isArray(item.box));
  const best = items.sort((a, b) => (Number(b.score) || 0) - (Number(a.score) || 0)).slice(0, MAX_DRAWN);
  message.detections = best.map(item => ({
    ...item, label: String(item.label).slice(0, MAX_TEXT), box: [0, 1, 2, 3].map(i => Number(item.box[i]) || 0),
  }));
  if (message.kind === "tracked") tracked = [message, ...tracked].slice(0, MAX_TRACKED);
  else inferred = [message, ...inferred].slice(0, MAX_INFERRED);
  addClassButtons(message);
  draw();
}

// The relay reports each change of its list, and a camera that comes and goes may change it all the time.
function refreshCameras() {
  if (listTimer) return;
  listTimer = setTimeout(() => {
    listTimer = 0;
    fetchCameras().then(followLiveCamera).catch(() => {});
  }, LIST_INTERVAL);
}

// If the user has chosen no camera and the shown one has stopped, connects to the first that is live.
function followLiveCamera() {
  const isLive = item => item && item.live;
  if (!chosenCamera && cameras.some(isLive) && !isLive(findCamera(camera))) connect();
}

// NTP's exchange: of several, the one with the shortest round trip has the smallest error.
function updateClock({ t1, t2, t3 }) {
  const t4 = steadyMicros();
  const roundTrip = t4 - t1 - (t3 - t2);
  const now = performance.now();
  if (!clock || roundTrip <= clock.roundTrip || now - clock.at > 60000) {
    clock = { roundTrip, at: now, offset: (t2 - t1 + t3 - t4) / 2 };
  }
}

// ---- the picture

// Parses the label behind SOI: FF EB, length, "sightline", 0, version 1, "F", then stream, number and microseconds in
// hexadecimal, and the camera's name.
function parseLabel(bytes) {
  const slice = (from, to) => new TextDecoder().decode(bytes.subarray(from, to));
  if (slice(6, 15) !== "sightline" || bytes[16] !== 1 || bytes[17] !== 70) return null;
  const number = from => parseInt(slice(from, from + 16), 16);
  return { seq: number(34), captured: number(50) / 1000 };
}

async function showFrame(buffer) {
  const label = parseLabel(new Uint8Array(buffer)) || { seq: 0, captured: 0 };
  const blob = new Blob([buffer], { type: "image/jpeg" });
  const source = camera;
  const picture = await createImageBitmap(blob);
  if (source !== camera) return;
  const canvas = $("picture");
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
    setAspectRatio(picture.width, picture.height);
  }
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
  // The first frame may be the last one of a camera that has stopped.
  const staleFor = initialAge > STALE_AFTER ? initialAge : 0;
  initialAge = 0;
  const now = performance.now() - staleFor;
  const gap = frame && now - frame.at;
  if (gap > 0 && gap < MAX_INTERVAL && !staleFor) {
    frameInterval += (gap - frameInterval) / (gap > STALE_INTERVALS * frameInterval ? 2 : 4);
  }
  frame = { ...label, blob, at: now };
  canvas.dataset.seq = label.seq;
  arrivals.push(now);
  draw();
  update();
}

function setAspectRatio(width, height) {
  $("view").style.setProperty("--ratio", width / height);
}

// Returns the frame's age by three clocks: the camera's, the relay's and the browser's; null if it cannot be known. The
// wall clocks of a camera and a browser that are not compared are assumed to be right, as in the viewer.
function frameAge() {
  if (!frame || !frame.captured || !clock) return null;
  if (cameraInfo.offset_us === undefined || cameraInfo.offset_us === null) {
    const age = Date.now() - frame.captured;
    return age >= -AHEAD_ASSUMED && age <= OLDEST_ASSUMED ? age : null;
  }
  const error = Math.max(cameraInfo.error_us || 0, clock.roundTrip / 2) / 1000;
  const age = (steadyMicros() + clock.offset - cameraInfo.offset_us) / 1000 - frame.captured;
  return error <= MAX_CLOCK_ERROR && age >= -2 * MAX_CLOCK_ERROR && age <= OLDEST ? age : null;
}

function isStale() {
  return frame && performance.now() - frame.at > Math.max(STALE_AFTER, STALE_INTERVALS * frameInterval);
}

// Updates state and figures, and reconnects if the socket does not open or the relay is silent.
function update() {
  const now = performance.now();
  arrivals = arrivals.filter(at => now - at < 2000);
  // A middlebox may swallow WebSockets, so that they neither open nor fail.
  if (socket && socket.readyState === 0 && now - socket.since > TIMEOUT) {
    failedSockets++;
    connect();
  } else if (socket && now - lastReceived > 2 * PING_INTERVAL) {
    connect();
  }
  if (!$("motion").hidden) return pollMjpegState();
  if (!frame) return;
  if (isStale()) {
    setStale(now - frame.at);
    draw();
  } else {
    setStatus("live", "");
  }
  const age = frameAge();
  // A slow camera has too few frames in two seconds to count.
  const counted = arrivals.length > 2 ? (arrivals.length - 1) / (now - arrivals[0]) * 1000 : 1000 / frameInterval;
  const figures = [(isStale() ? 0 : counted).toFixed(1) + " fps"];
  const seconds = (age / 1000).toFixed(0) + " s";
  if (age !== null) figures.push("age " + (age < 9999 ? Math.max(0, age).toFixed(0) + " ms" : seconds));
  const { width, height } = $("picture");
  if (Array.isArray(renditionOf)) figures.push(`${width}x${height} of ${renditionOf.map(Number).join("x")}`);
  $("figures").textContent = figures.join("  ");
}

// An <img> has no event for each frame of MJPEG, so the page polls the relay for the camera's state.
function pollMjpegState() {
  if (document.hidden || signedOut || performance.now() - lastPoll < 1000) return;
  lastPoll = performance.now();
  fetchCameras().then(updateMjpegState).catch(error => {
    mjpegStale = true;
    setFailure(failureReason(error));
    draw();
  });
}

function updateMjpegState() {
  if ($("motion").hidden) return;
  const found = findCamera(camera);
  followLiveCamera();
  mjpegStale = !found || !eventSource || !$("motion").naturalWidth;
  if (!found) return setFailure("camera " + camera + " is not here");
  if (mjpegStale) return setStatus("waiting", "Waiting for a frame");
  retries = 0;
  failure = "";
  setAspectRatio(found.width, found.height);
  mjpegStale = found.age_ms > Math.max(STALE_AFTER, found.fps ? STALE_INTERVALS * 1000 / found.fps : 0);
  if (mjpegStale) setStale(found.age_ms);
  else setStatus("live", "");
  $("figures").textContent = (found.fps || 0).toFixed(1) + " fps  MJPEG";
  draw();
}

// ---- begin and end

let hiddenTimer = 0;
document.onvisibilitychange = () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(disconnect, HIDDEN_TIMEOUT);
  else if (!socket && !eventSource) { retries = 0; scheduleReconnect(true); }
};
addEventListener("online", () => { retries = 0; scheduleReconnect(true); });
new ResizeObserver(draw).observe($("view"));
setInterval(update, 200);
setInterval(sendPing, PING_INTERVAL);
connect();

// A link with another ticket's token takes the place of the session; a token that is not in force changes nothing.
function openLink() {
  const token = takeToken();
  if (token) signIn(token).then(() => location.reload()).catch(() => {});
}
addEventListener("hashchange", openLink);
openLink();
