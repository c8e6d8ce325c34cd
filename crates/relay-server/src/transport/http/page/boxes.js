// The boxes of the page: how they age, which belong on a picture, and how they are drawn.
"use strict";

// ---- the ageing of boxes: the rule of crates/protocol/src/ageing.rs, with its table of cases beside it

// Returns how many seconds a box outlives its last support, from the seconds between two inferences (null: not known).
function boxLife(interval) {
  return Math.min(Math.max(2 * (interval || 0), 1), 10);
}

// Returns the opacity of a box that was last supported `age` seconds ago.
function boxOpacity(age, life) {
  return Math.min(Math.max(2 * (1 - age / life), 0), 1);
}

// Returns a box of the newest message `since` seconds later, clipped to the picture; null once no part of it is inside.
// `earlier` is the track's box in a message that is `between` seconds older, or null.
function movedBox(last, earlier, between, since) {
  if (!earlier || !(between > 0)) return last;
  const centre = (box, i) => (box[i] + box[i + 2]) / 2;
  const step = [0, 1].map(i => (centre(last, i) - centre(earlier, i)) * since / between);
  const box = last.map((edge, i) => Math.min(Math.max(edge + step[i % 2], 0), 1));
  const inside = box[2] > box[0] && box[3] > box[1];
  return inside || !(step[0] || step[1]) ? box : null;
}

// ---- the boxes

// Returns the seconds between two inferences; null if not known. A lost message makes one gap longer, so the shortest one
// counts.
function inferenceInterval() {
  const gaps = inferred.slice(1).map((message, i) => inferred[i].t - message.t).filter(gap => gap > TIME_ERROR);
  return gaps.length ? Math.min(...gaps) : null;
}

// Returns the newest of the messages of these seconds; of several for one frame, the one that came last.
function newestMessage(messages, from, to) {
  const within = messages.filter(message => message.t >= from - TIME_ERROR && message.t <= to + TIME_ERROR);
  return within.reduce((newest, message) => newest && newest.t >= message.t ? newest : message, null);
}

// Returns the boxes of what is shown with their opacity: the frame's own; or the newest tracked ones from before it, each
// moved on as its track last moved; or, from a relay without a tracker, those that the model found last.
function currentBoxes() {
  const life = boxLife(inferenceInterval());
  if (!frame) return mjpegBoxes(life);
  if (isStale()) return null;
  const captured = frame.captured / 1000;
  const own = tracked.find(message => message.seq === frame.seq && Math.abs(captured - message.t) <= SAME_RUN);
  if (own) return { boxes: own.detections, opacity: 1 };
  if (tracked.some(message => Math.abs(captured - message.t) < life)) return movedBoxes(captured, life);
  const found = newestMessage(inferred, captured - SAME_RUN, captured);
  return found && { boxes: found.detections, opacity: 1 };
}

function movedBoxes(captured, life) {
  const last = newestMessage(tracked, captured - life, captured);
  if (!last) return null;
  const earlier = newestMessage(tracked, last.t - life, last.t - 2 * TIME_ERROR);
  const age = Math.max(captured - last.t, 0);
  // Of several boxes with one id, the best one, which comes first.
  const tracks = new Map((earlier ? earlier.detections.slice().reverse() : []).map(item => [item.id, item.box]));
  const boxes = last.detections.map(item => {
    const before = item.id != null && tracks.get(item.id);
    return { ...item, box: movedBox(item.box, before || null, earlier ? last.t - earlier.t : 0, age) };
  });
  return { boxes: boxes.filter(item => item.box), opacity: boxOpacity(age, life) };
}

// MJPEG has no capture times, so the age counts from the message's arrival, and boxes do not move.
function mjpegBoxes(life) {
  const newest = tracked[0] || inferred[0];
  if (!newest || $("motion").hidden || mjpegStale) return null;
  const age = (performance.now() - newest.received) / 1000;
  return { boxes: newest.detections, opacity: boxOpacity(age, life) };
}

// The score of a fading box is not the model's.
const boxCaption = (item, opacity) =>
  item.fading || opacity < 1 ? item.label : item.label + " " + Math.round(item.score * 100) + "%";

const colour = number => "hsl(" + (number * 137.5) % 360 + " 90% 60%)";

function draw() {
  const canvas = $("boxes"), scale = devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const shown = showBoxes ? currentBoxes() : null;
  if (!shown || !shown.opacity) return;
  drawBoxes(context, shown, scale);
}

// Draws boxes over the whole of a canvas, with lines and letters in this scale.
function drawBoxes(context, shown, scale) {
  const { width, height } = context.canvas;
  const size = Math.round(14 * scale);
  context.font = size + "px system-ui, sans-serif";
  context.lineWidth = 2 * scale;
  context.textBaseline = "top";
  context.globalAlpha = shown.opacity;
  for (const item of shown.boxes) {
    if (hiddenClasses.has(item.label)) continue;
    const [x0, y0, x1, y1] = item.box.map((v, i) => Math.min(Math.max(v, 0), 1) * (i % 2 ? height : width));
    context.strokeStyle = context.fillStyle = colour(Number(item.class) || 0);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    const caption = boxCaption(item, shown.opacity);
    const wide = context.measureText(caption).width + 6 * scale;
    const left = Math.max(0, Math.min(x0, width - wide)), top = y0 >= size + 4 * scale ? y0 - size - 4 * scale : y0;
    context.fillRect(left, top, wide, size + 4 * scale);
    context.fillStyle = "#000";
    context.fillText(caption, left + 3 * scale, top + 2 * scale);
  }
}

// Adds a button for each class that is new.
function addClassButtons(message) {
  for (const item of message.detections) {
    const name = item.label;
    if (classButtons.has(name) || classButtons.size >= MAX_CLASSES) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.style.borderColor = colour(Number(item.class) || 0);
    button.setAttribute("aria-pressed", String(!hiddenClasses.has(name)));
    button.onclick = () => {
      if (!hiddenClasses.delete(name)) hiddenClasses.add(name);
      button.setAttribute("aria-pressed", String(!hiddenClasses.has(name)));
      store("hidden", [...hiddenClasses].join("\n"));
      draw();
    };
    classButtons.set(name, button);
    $("classes").append(button);
  }
}
