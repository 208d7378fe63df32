"use strict";
// Every text of the data reaches the page as text (textContent, canvas), never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
// The names of Cytoscape's shapes, and the same for the legend: corners in a square of 12.
const SHAPES = {
  ellipse: null, rectangle: "1,1 11,1 11,11 1,11", diamond: "6,0 12,6 6,12 0,6", hexagon: "3,1 9,1 12,6 9,11 3,11 0,6",
  triangle: "6,0 12,11 0,11", pentagon: "6,0 12,5 10,12 2,12 0,5", vee: "0,0 6,4 12,0 6,12", rhomboid: "0,1 8,1 12,11 4,11",
};
const LINES = ["solid", "dashed", "dotted"];
const colour = (index) => data.colours[index % data.colours.length];
const typeColour = (type) => colour(data.types.indexOf(type));
const typeShape = (type) => Object.keys(SHAPES)[data.types.indexOf(type) % Object.keys(SHAPES).length];
const relationColour = (relation) => colour(data.relations.indexOf(relation) + data.types.length);
const relationLine = (relation) => LINES[Math.floor((data.relations.indexOf(relation) + data.types.length) / data.colours.length) % LINES.length];
const nodes = new Map(data.nodes.map((node) => [node.id, node]));
const recordings = new Map(data.recordings.map((recording) => [recording.id, recording]));
const sure = (edge) => (edge.confidence === null ? 1 : edge.confidence);
const WHERE = {
  entities: "where it was said",
  chunk: "the whole chunk in which it was heard: its words could not be aligned with the sound",
  recording: "the whole recording: its entities have no times",
};
const shown = (confidence) => (confidence === null ? "not known" : confidence.toFixed(2));
const seconds = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

// -- sound
const players = new Map();
let stopAt = null;
function play(evidence) {
  const player = players.get(evidence.recording_id);
  if (!player) return;
  for (const other of players.values()) if (other !== player) other.pause();
  const start = () => {
    player.currentTime = evidence.span.start_s;
    stopAt = { player, end: evidence.span.end_s };
    player.play().catch((error) => console.warn("cannot play", error.name));
  };
  if (player.readyState >= 1) start();
  else { player.addEventListener("loadedmetadata", start, { once: true }); player.load(); }
}
function stopAtEnd(player) {
  if (stopAt && stopAt.player === player && player.currentTime >= stopAt.end) { player.pause(); stopAt = null; }
}

// -- graph
const cy = cytoscape({
  container: byId("graph"),
  maxZoom: 3,
  elements: [
    ...data.nodes.map((node, index) => ({
      data: { id: node.id, label: node.name, colour: typeColour(node.type), shape: typeShape(node.type), size: 24 + 6 * Math.sqrt(node.mentions.length) },
      position: { x: 300 * Math.cos((2 * Math.PI * index) / data.nodes.length), y: 300 * Math.sin((2 * Math.PI * index) / data.nodes.length) },
    })),
    ...data.edges.map((edge) => ({
      data: { id: `edge ${edge.id}`, edge: edge.id, source: edge.head_id, target: edge.tail_id, label: edge.relation, colour: relationColour(edge.relation), line: relationLine(edge.relation), width: 1 + 3 * sure(edge) },
    })),
  ],
  style: [
    { selector: "node", style: { label: "data(label)", "background-color": "data(colour)", shape: "data(shape)", width: "data(size)", height: "data(size)", color: isDark ? "#e7ebf2" : "#1a2230", "font-size": 15, "text-valign": "bottom", "text-margin-y": 4, "text-wrap": "wrap", "text-max-width": 150, "text-outline-width": 2, "text-outline-color": isDark ? "#181e27" : "#ffffff" } },
    { selector: "edge", style: { label: "data(label)", "line-color": "data(colour)", "line-style": "data(line)", "target-arrow-color": "data(colour)", "target-arrow-shape": "triangle", "curve-style": "bezier", width: "data(width)", color: isDark ? "#b9c4d6" : "#47526a", "font-size": 12, "text-rotation": "autorotate", "text-outline-width": 2, "text-outline-color": isDark ? "#181e27" : "#ffffff" } },
    { selector: ".off", style: { display: "none" } },
    { selector: ".faint", style: { opacity: 0.18 } },
    { selector: ":selected", style: { "overlay-color": "#f0b400", "overlay-opacity": 0.3, "overlay-padding": 6 } },
  ],
  // "cose" compares all pairs of nodes: over 800 a page would hang for seconds, and circles by degree must do.
  layout: data.nodes.length > 800
    ? { name: "concentric", animate: false }
    : { name: "cose", animate: false, randomize: false, nodeDimensionsIncludeLabels: true, nodeRepulsion: () => 12000, idealEdgeLength: () => 95, componentSpacing: 60, padding: 30 },
});
cy.on("tap", "edge", (event) => choose(event.target.data("edge")));
cy.on("tap", "node", (event) => describe(event.target.id()));
cy.on("tap", (event) => { if (event.target === cy) byId("details").replaceChildren(); });
byId("fit").addEventListener("click", () => { byId("search").value = ""; byId("slider").value = 0; filter(); cy.fit(undefined, 30); });

// -- details
function link(nodeId) {
  const node = nodes.get(nodeId);
  const element = make("button", node.name, "entity");
  element.type = "button";
  element.dir = "auto";
  element.style.borderBottomColor = typeColour(node.type);
  element.addEventListener("click", () => describe(nodeId));
  return element;
}
function describe(nodeId) {
  const node = nodes.get(nodeId), box = byId("details");
  cy.elements().unselect();
  cy.getElementById(nodeId).select();
  const list = make("ul");
  for (const text of node.texts) if (text !== node.name) list.append(make("li", `also told as “${text}”`));
  for (const merge of node.merges) list.append(make("li", `${merge.rule}: ${merge.reason}`));
  const title = make("h3", node.name);
  title.dir = "auto";
  const heard = new Set(node.mentions.map((mention) => mention.recording_id));
  box.replaceChildren(title, make("p", `${node.type || "no type"} · ${node.mentions.length} mentions in ${[...heard].join(", ")}`, "meta"), list);
}
function choose(edgeId) {
  const edge = data.edges.find((one) => one.id === edgeId), box = byId("details");
  const title = make("h3");
  title.append(link(edge.head_id), ` ${edge.relation} `, link(edge.tail_id));
  const list = make("ul");
  for (const one of edge.evidence) {
    const item = make("li");
    const again = make("button", `▶ ${seconds(one.span.start_s)} to ${seconds(one.span.end_s)}`, "play");
    again.type = "button";
    again.disabled = !players.has(one.recording_id);
    again.addEventListener("click", () => play(one));
    const where = WHERE[one.span.source];
    item.append(again, ` ${recordings.get(one.recording_id).id}: “${one.head}”, “${one.tail}”, confidence ${shown(one.confidence)}, ${one.votes ?? "no"} votes; ${where}`);
    list.append(item);
  }
  box.replaceChildren(title, list);
  cy.elements().unselect();
  cy.getElementById(`edge ${edgeId}`).select();
  for (const button of byId("triplets").querySelectorAll("button")) button.setAttribute("aria-current", String(button.dataset.edge === edgeId));
  const best = edge.evidence.reduce((a, b) => ((b.confidence ?? 0) > (a.confidence ?? 0) ? b : a));
  for (const article of document.querySelectorAll("article")) article.classList.toggle("playing", article.dataset.recording === best.recording_id);
  play(best);
}

// -- lists
const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
function bar(value, fill) {
  const image = svg("svg", { viewBox: "0 0 46 6", class: "bar", "aria-hidden": "true" });
  image.append(svg("rect", { width: 46, height: 6, rx: 3, fill: isDark ? "#2f3846" : "#d9dfe7" }), svg("rect", { width: 46 * value, height: 6, rx: 3, fill }));
  return image;
}
const items = [...data.edges].sort((a, b) => sure(b) - sure(a)).map((edge) => {
  const button = make("button");
  button.type = "button";
  button.dataset.edge = edge.id;
  const [head, relation, tail] = [make("bdi", nodes.get(edge.head_id).name), make("span", edge.relation, "relation"), make("bdi", nodes.get(edge.tail_id).name)];
  relation.style.color = relationColour(edge.relation);
  const first = edge.evidence[0];
  const more = edge.evidence.length > 1 ? ` · told ${edge.evidence.length} times` : "";
  const line = make("div", undefined, "meta");
  line.append(bar(sure(edge), relationColour(edge.relation)), `${shown(edge.confidence)} · ${recordings.get(first.recording_id).id} ${seconds(first.span.start_s)}${more} `, make("span", "▶ play", "play"));
  button.append(head, relation, tail, line);
  button.addEventListener("click", () => choose(edge.id));
  const item = make("li");
  item.append(button);
  byId("triplets").append(item);
  const words = [nodes.get(edge.head_id), nodes.get(edge.tail_id)].flatMap((node) => [...node.texts, node.type]);
  return { edge, item, words: [...words, edge.relation, ...edge.evidence.map((one) => one.recording_id)].join("\n").toLowerCase() };
});
function filter() {
  const least = Number(byId("slider").value), query = byId("search").value.trim().toLowerCase();
  byId("least").textContent = least.toFixed(2);
  const seen = new Set(), near = new Set();
  let count = 0;
  cy.batch(() => {
    for (const { edge, item, words } of items) {
      const isOn = sure(edge) >= least && (!query || words.includes(query));
      item.hidden = !isOn;
      cy.getElementById(`edge ${edge.id}`).toggleClass("off", sure(edge) < least).toggleClass("faint", !isOn);
      if (sure(edge) >= least) { seen.add(edge.head_id); seen.add(edge.tail_id); }
      if (isOn) { near.add(edge.head_id); near.add(edge.tail_id); }
      count += isOn;
    }
    for (const node of data.nodes) {
      const isFound = !query || [...node.texts, node.type].some((text) => text.toLowerCase().includes(query));
      cy.getElementById(node.id).toggleClass("off", !seen.has(node.id)).toggleClass("faint", Boolean(query) && !isFound && !near.has(node.id));
    }
  });
  byId("num-shown").textContent = `${count} of ${data.edges.length}`;
}
byId("slider").addEventListener("input", filter);
byId("search").addEventListener("input", filter);

const legend = byId("legend");
for (const type of data.types) {
  const image = svg("svg", { width: 12, height: 12 });
  const fill = typeColour(type), points = SHAPES[typeShape(type)];
  image.append(points ? svg("polygon", { points, fill }) : svg("circle", { cx: 6, cy: 6, r: 6, fill }));
  const entry = make("span");
  entry.append(image, type || "no type");
  legend.append(entry);
}
for (const relation of data.relations) {
  const image = svg("svg", { width: 22, height: 6 });
  image.append(svg("rect", { width: 22, height: 3, y: 1, fill: relationColour(relation) }));
  const entry = make("span");
  entry.append(image, relation);
  legend.append(entry);
}

byId("conflict-box").hidden = !data.conflicts.length;
for (const conflict of data.conflicts) {
  const item = make("li");
  item.append(make("span", conflict.kind.replace("_", " "), "kind"), conflict.text);
  byId("conflicts").append(item);
}

for (const recording of data.recordings) {
  const article = make("article");
  article.dataset.recording = recording.id;
  article.append(make("h3", recording.id), make("p", `${recording.source} · ${seconds(recording.duration_s)} · ${recording.model}`, "meta"));
  if (recording.sound !== null) {
    const player = make("audio");
    player.controls = true;
    player.preload = "metadata";
    player.src = data.sounds[recording.sound];
    player.addEventListener("timeupdate", () => stopAtEnd(player));
    player.addEventListener("seeking", () => { if (stopAt && stopAt.player === player && player.currentTime > stopAt.end) stopAt = null; });
    players.set(recording.id, player);
    article.append(player);
  } else article.append(make("p", recording.sound_note, "meta"));
  const said = make("p");
  said.dir = "auto";
  for (const [text, nodeId] of recording.segments) {
    if (nodeId === null) { said.append(text); continue; }
    const element = link(nodeId);
    element.textContent = text;
    element.title = `${nodes.get(nodeId).name} (${nodes.get(nodeId).type || "no type"})`;
    said.append(element);
  }
  if (recording.segments.length) article.append(said);
  for (const warning of recording.warnings) article.append(make("p", `warning: ${warning}`, "meta"));
  byId("recordings").append(article);
}
const plural = (number, one, many) => `${number} ${number === 1 ? one : many}`;
byId("lead").textContent = `${plural(data.recordings.length, "recording", "recordings")} · ${plural(data.nodes.length, "entity", "entities")} · ${plural(data.edges.length, "triplet", "triplets")}`;
filter();
cy.resize();
cy.fit(undefined, 30);
document.documentElement.dataset.ready = "true";
