// What fetch, EventSource and WebSocket of Node do and see. Called by `.ci/clients`.
import { EventSource } from "eventsource";
import WebSocket from "ws";

const { API, KEY, UNKNOWN } = process.env;
const bearer = (key) => ({ authorization: "Bearer " + key });
const call = (path, options) => fetch(`http://${API}${path}`, options);

async function row(client, what, right, see) {
  let saw;
  try {
    saw = String(await see());
  } catch (error) {
    saw = `error: ${error} ${error.cause ?? ""}`;
  }
  console.log([client, what, saw, right.test(saw) ? "ok" : "NOT OK"].join("\t"));
}

async function uploads(body) {
  const saw = [];
  for (let n = 0; n < 20; n += 1) {
    const options = { method: "POST", headers: bearer(UNKNOWN), body: body(), duplex: "half" };
    const answer = await call("/orders", options);
    saw.push(answer.status);
    await answer.arrayBuffer();
  }
  const after = await call("/orders", { headers: bearer(KEY) });
  return `${[...new Set(saw)]} x ${saw.length}, then ${after.status}`;
}

function* chunks() {
  for (let n = 0; n < 100; n += 1) {
    yield new Uint8Array(50_000);
  }
}

await row("fetch of Node", "GET, good key", /^200 .*r=\d/, async () => {
  const answer = await call("/orders", { headers: bearer(KEY) });
  return `${answer.status} RateLimit: ${answer.headers.get("ratelimit")}`;
});
await row("fetch of Node", "GET, unknown key", /^401 .*not valid/, async () => {
  const answer = await call("/orders", { headers: bearer(UNKNOWN) });
  return `${answer.status} ${(await answer.json()).detail}`;
});
await row("fetch of Node", "over the limit", /^429 Retry-After: \d+$/, async () => {
  await call("/scarce", { headers: bearer(KEY) });
  const answer = await call("/scarce", { headers: bearer(KEY) });
  return `${answer.status} Retry-After: ${answer.headers.get("retry-after")}`;
});
await row("fetch of Node", "20 uploads of 5 MB, unknown key", /^401 x 20, then 200$/, () =>
  uploads(() => new Uint8Array(5_000_000)));
await row("fetch of Node", "the same, in chunks", /^401 x 20, then 200$/, () =>
  uploads(() => ReadableStream.from(chunks())));

const events = (key) =>
  new Promise((resolve) => {
    const source = new EventSource(`http://${API}/events?key=${key}`);
    const end = (saw) => {
      source.close();
      resolve(saw);
    };
    source.onmessage = (event) => end(event.data);
    source.onerror = (event) => end(`refused: ${event.code}`);
  });
await row("eventsource", "key in the query", /^page$/, () => events(KEY));
await row("eventsource", "unknown key", /^refused: 401$/, () => events(UNKNOWN));

const socket = (key) =>
  new Promise((resolve) => {
    const socket = new WebSocket(`ws://${API}/socket`, ["orders.v1", "key." + key]);
    socket.on("message", (data) => {
      resolve(`${socket.protocol}: ${data}`);
      socket.close();
    });
    socket.on("unexpected-response", (_, answer) => {
      resolve(answer.statusCode);
      socket.terminate();
    });
    socket.on("error", () => {});
  });
await row("ws", "key in a protocol", /^orders.v1: page$/, () => socket(KEY));
await row("ws", "unknown key", /^401$/, () => socket(UNKNOWN));
