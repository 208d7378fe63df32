"use strict";
// Every text of an answer reaches the page as text (textContent), never as markup.
const byId = (id) => document.getElementById(id);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const READABLE = /\.(wav|flac|ogg|oga|opus|mp3)$/i; // what the service decodes itself
const RATE_HZ = 16000;
const MAX_RECORD_S = 600; // decoded in the memory of the page, at 4 bytes a sample
const MAX_CONVERT_BYTES = 64e6;
const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

// -- what is going on
let running = null; // the AbortController of the request that waits
function say(text, isFailure = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("failed", isFailure);
}
function setBusy(isBusy) {
  byId("cancel").hidden = !isBusy;
  byId("file").disabled = isBusy;
  byId("record").disabled = isBusy || !canRecord;
  document.documentElement.dataset.busy = String(isBusy);
}

// -- sound
/** Any sound that this browser can decode, as a WAV file of 16 bits at 16 kHz, one channel. */
async function toWav(blob) {
  const decoder = new OfflineAudioContext(1, 1, RATE_HZ);
  const decoded = await decoder.decodeAudioData(await blob.arrayBuffer()); // at 16 kHz already, its channels as they are
  const mixer = new OfflineAudioContext(1, Math.max(1, decoded.length), RATE_HZ);
  const source = mixer.createBufferSource();
  source.buffer = decoded;
  source.connect(mixer.destination);
  source.start();
  const samples = (await mixer.startRendering()).getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (offset, word) => [...word].forEach((letter, i) => view.setUint8(offset + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE_HZ, true); view.setUint32(28, 2 * RATE_HZ, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true));
  return new Blob([view.buffer], { type: "audio/wav" });
}

// -- recording: browsers write WebM, Ogg or MP4, and what each writes it can decode itself
const canRecord = Boolean(window.MediaRecorder && navigator.mediaDevices && window.OfflineAudioContext);
let recorder = null;
async function startRecording() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    say(`The microphone cannot be used (${error.name}): allow it for this page, or choose a file.`, true);
    return;
  }
  const parts = [], begun = Date.now();
  recorder = new MediaRecorder(stream);
  const tick = setInterval(() => {
    const seconds = (Date.now() - begun) / 1000;
    byId("record-note").textContent = `Recording, ${Math.floor(seconds)} s`;
    if (seconds >= MAX_RECORD_S) stopRecording();
  }, 1000);
  recorder.addEventListener("dataavailable", (event) => { if (event.data.size) parts.push(event.data); });
  recorder.addEventListener("stop", async () => {
    clearInterval(tick);
    stream.getTracks().forEach((track) => track.stop());
    byId("record").textContent = "Record";
    byId("record").setAttribute("aria-pressed", "false");
    byId("record-note").textContent = "";
    const blob = new Blob(parts, { type: recorder.mimeType });
    recorder = null;
    try {
      await send(await toWav(blob), "microphone.wav");
    } catch (error) {
      say(`What was recorded cannot be read (${error.name}): record again, or choose a file.`, true);
    }
  }, { once: true });
  recorder.start();
  byId("record").textContent = "Stop";
  byId("record").setAttribute("aria-pressed", "true");
  say("Recording. Press Stop when all is said.");
}
function stopRecording() { if (recorder && recorder.state !== "inactive") recorder.stop(); }

// -- asking
async function choose(file) {
  if (running || recorder) return;
  let blob = file;
  if (!READABLE.test(file.name) && file.size <= MAX_CONVERT_BYTES) {
    say(`Converting ${file.name}`);
    try { blob = await toWav(file); } catch { blob = file; } // the service says what it is
  }
  await send(blob, file.name);
}
async function send(blob, name) {
  running = new AbortController();
  setBusy(true);
  say(`Hearing ${name}`);
  try {
    const response = await fetch(`v1/extract?name=${encodeURIComponent(name)}`, { method: "POST", body: blob, signal: running.signal });
    const answer = await response.json();
    if (response.ok) show(answer, blob);
    else say(answer.error.message, true);
  } catch (error) {
    say(error.name === "AbortError" ? "Cancelled." : "The service cannot be reached: is it running?", error.name !== "AbortError");
  } finally {
    running = null;
    setBusy(false);
  }
}

// -- showing
let stopAt = null, soundUrl = null;
const player = byId("player");
player.addEventListener("timeupdate", () => {
  if (stopAt !== null && player.currentTime >= stopAt) { player.pause(); stopAt = null; }
});
function play(startS, endS) {
  player.currentTime = startS;
  stopAt = endS;
  player.play().catch((error) => say(`The recording cannot be played here (${error.name}).`, true));
}
function cell(tag, entity) {
  const element = make(tag);
  element.append(make("bdi", entity.text), " ", make("small", entity.type));
  return element;
}
function row(triplet) {
  const line = make("tr"), head = cell("th", triplet.head);
  head.scope = "row";
  const sure = make("td"), meter = make("meter"), at = make("td");
  meter.min = 0; meter.max = 1; meter.value = triplet.confidence ?? 0;
  meter.setAttribute("aria-hidden", "true"); // the number beside it says the same
  sure.append(meter, triplet.confidence === undefined ? "not known" : triplet.confidence.toFixed(2));
  const ends = [triplet.head, triplet.tail];
  if (ends.every((one) => one.start_s !== undefined)) {
    const startS = Math.min(...ends.map((one) => one.start_s)), endS = Math.max(...ends.map((one) => one.end_s));
    const isChunk = ends.some((one) => one.times_of === "chunk");
    const button = make("button", `${isChunk ? "in " : ""}${clock(startS)} to ${clock(endS)}`);
    button.type = "button";
    button.setAttribute("aria-label", `Play ${clock(startS)} to ${clock(endS)}: ${triplet.head.text} ${triplet.relation} ${triplet.tail.text}`);
    button.addEventListener("click", () => play(startS, endS));
    at.append(button);
  }
  line.append(head, make("td", triplet.relation), cell("td", triplet.tail), sure, at);
  return line;
}
function show(answer, blob) {
  if (soundUrl) URL.revokeObjectURL(soundUrl);
  soundUrl = URL.createObjectURL(blob);
  player.src = soundUrl;
  stopAt = null;
  const count = answer.triplets.length;
  byId("result-title").textContent = answer.source;
  byId("transcript").textContent = answer.transcript ?? "This model writes no transcript.";
  byId("warnings").replaceChildren(...answer.warnings.map((warning) => make("li", warning)));
  byId("triplets").tBodies[0].replaceChildren(...answer.triplets.map(row));
  byId("triplets").hidden = !count;
  byId("none").hidden = Boolean(count);
  byId("json").textContent = JSON.stringify(answer, null, 1);
  byId("result").hidden = false;
  say(`${answer.source}: ${answer.duration_s.toFixed(1)} s heard, ${count === 1 ? "1 triplet" : `${count} triplets`}.`);
  byId("result-title").focus();
}

// -- the page
byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) choose(file);
  event.target.value = ""; // the same file can be chosen again
});
byId("record").addEventListener("click", () => (recorder ? stopRecording() : startRecording()));
byId("cancel").addEventListener("click", () => running && running.abort());
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}
if (!canRecord) byId("record-note").textContent = "No recording here: browsers give the microphone to localhost and https pages only.";
setBusy(false);
fetch("v1/model").then((response) => response.json()).then((about) => {
  byId("model").textContent = `${about.model} · ${about.relation_types.join(", ")}`;
}).catch(() => say("The service cannot be reached: is it running?", true)).finally(() => {
  document.documentElement.dataset.ready = "true";
});
