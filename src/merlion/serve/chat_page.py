"""The chat page at `/`: one constant, no other file, works with no network but this server.

It keeps the conversation in the page, streams replies from `/v1/chat/completions`, and asks for an
API key only when the server does. Text is put into the page as text, never as HTML.
"""

CHAT_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MerlionOS</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --ink: #1d2430; --soft: #667085; --line: #e3e6eb;
  --paper: #fbfbf9; --card: #ffffff; --sea: #0f766e; --sea-ink: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ee; --soft: #98a2b3; --line: #2b313b;
  --paper: #14171c; --card: #1b1f26; --sea: #2dd4bf; --sea-ink: #06231f; } }
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, footer { flex: none; }
header { display: flex; align-items: baseline; gap: .75rem; padding: .8rem 1.25rem;
  border-bottom: 1px solid var(--line); }
header b { letter-spacing: .02em; }
header span { color: var(--soft); font-size: .85rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; flex: 1; }
button { font: inherit; border: 1px solid var(--line); border-radius: .6rem; padding: .35rem .8rem;
  background: var(--card); color: var(--ink); cursor: pointer; }
button:hover { border-color: var(--sea); }
main { flex: 1; overflow-y: auto; scroll-behavior: smooth; }
#log { max-width: 46rem; margin: 0 auto; padding: 1.25rem; }
#hello { color: var(--soft); text-align: center; margin-top: 18vh; }
#hello h1 { color: var(--ink); font-size: 1.5rem; font-weight: 600; margin: 0 0 .3rem; }
.message { margin: 0 0 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.user { margin-left: auto; width: fit-content; max-width: 85%; background: var(--sea);
  color: var(--sea-ink); padding: .5rem .9rem; border-radius: 1rem 1rem .25rem 1rem; }
.error { color: #d92d20; }
.live::after { content: ""; display: inline-block; width: .5em; height: 1em; margin-left: .15em;
  vertical-align: -.12em; background: var(--sea); animation: blink 1s steps(2) infinite; }
@keyframes blink { 50% { opacity: 0; } }
.note { color: var(--soft); font-size: .78rem; margin: -.8rem 0 1.1rem; }
footer { border-top: 1px solid var(--line); padding: .8rem 1.25rem 1rem; }
form { display: flex; gap: .6rem; max-width: 46rem; margin: 0 auto; align-items: flex-end; }
textarea { flex: 1; resize: none; font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: .8rem; padding: .6rem .9rem; max-height: 40vh; }
textarea:focus { outline: 2px solid var(--sea); outline-offset: -1px; }
#send { background: var(--sea); color: var(--sea-ink); border-color: transparent;
  padding: .6rem 1.1rem; border-radius: .8rem; }
</style>
</head>
<body>
<header><b>MerlionOS</b><span id="model">&nbsp;</span>
<button id="fresh" type="button">New chat</button></header>
<main><div id="log"><div id="hello"><h1>Ask anything.</h1>
The model runs on this machine, with nothing underneath it.</div></div></main>
<footer><form id="form">
<textarea id="text" rows="1" placeholder="Message" aria-label="Message" autofocus></textarea>
<button id="send">Send</button></form></footer>
<script>
"use strict";
const $ = id => document.getElementById(id);
const main = document.querySelector("main");
let messages = [], running = null;
let key = sessionStorage.getItem("key") || "";
const headers = () => key ? { Authorization: "Bearer " + key } : {};

function add(kind, text) {
  if ($("hello")) $("hello").remove();
  const node = document.createElement("div");
  node.className = kind;
  node.textContent = text;
  $("log").append(node);
  main.scrollTop = main.scrollHeight;
  return node;
}

async function ask(path, options) {
  for (;;) {
    const reply = await fetch(path, { ...options, headers: headers() });
    if (reply.status !== 401) return reply;
    const given = prompt("This server asks for an API key:");
    if (!given) return reply;
    key = given.trim();
    sessionStorage.setItem("key", key);
  }
}

async function showModel() {
  try {
    const list = await (await ask("/v1/models")).json();
    $("model").textContent = list.data.length ? list.data[0].id : "loading the model\xe2\x80\xa6";
    if (!list.data.length) setTimeout(showModel, 1000);
  } catch { setTimeout(showModel, 3000); }
}

async function stream(node) {
  const reply = await ask("/v1/chat/completions", { method: "POST", signal: running.signal,
    body: JSON.stringify({ messages, stream: true, stream_options: { include_usage: true } }) });
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", answer = "", usage = null, done = false;
  const start = performance.now();
  let first = 0;
  for (;;) {
    const part = await reader.read();
    if (part.done) break;
    const lines = (rest + part.value).split("\\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      if (line === "data: [DONE]") { done = true; continue; }
      const chunk = JSON.parse(line.slice(6));
      if (chunk.usage) usage = chunk.usage;
      const text = chunk.choices.length ? chunk.choices[0].delta.content : "";
      if (!text) continue;
      first = first || performance.now();
      answer += text;
      const low = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
      node.textContent = answer;
      if (low) main.scrollTop = main.scrollHeight;
    }
  }
  if (!done) throw new Error("The connection was lost.");
  if (usage && first) {
    const seconds = (performance.now() - first) / 1000;
    const rate = usage.completion_tokens > 1 ? (usage.completion_tokens - 1) / seconds : 0;
    add("note", `${usage.completion_tokens} tokens \xc2\xb7 ${rate.toFixed(1)} tokens/s \xc2\xb7 ` +
      `first after ${((first - start) / 1000).toFixed(2)} s`);
  }
}

$("form").addEventListener("submit", async event => {
  event.preventDefault();
  if (running) { running.abort(); return; }
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  $("text").style.height = "";
  add("message user", text);
  messages.push({ role: "user", content: text });
  const node = add("message live", "");
  const turns = messages;
  running = new AbortController();
  $("send").textContent = "Stop";
  try {
    await stream(node);
  } catch (error) {
    if (error.name !== "AbortError") add("message error", error.message);
  }
  node.classList.remove("live");
  if (node.textContent) turns.push({ role: "assistant", content: node.textContent });
  else node.remove();
  running = null;
  $("send").textContent = "Send";
});

$("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) $("form").requestSubmit();
  }
});
$("text").addEventListener("input", () => {
  $("text").style.height = "auto";
  $("text").style.height = $("text").scrollHeight + "px";
});
$("fresh").addEventListener("click", () => {
  if (running) running.abort();
  messages = [];
  $("log").textContent = "";
  $("text").focus();
});
showModel();
</script>
</body>
</html>
"""
