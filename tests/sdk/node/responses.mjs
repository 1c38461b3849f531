// Responses through OpenAI's SDK: streamed, collected, in the background, taken up again, cancelled,
// deleted, what came in, refused.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { apiKey, baseURL, collect, isMidstream, model, options, report, until } from "./asked.mjs";

const client = new OpenAI({ ...options, baseURL: `${baseURL}/v1` });
const input = "Name a lake.";
const parameters = {
  type: "object",
  properties: { place: { type: "string" }, days: { type: "integer" } },
  required: ["place", "days"],
  additionalProperties: false,
};
const tools = [{ type: "function", name: "weather", parameters, strict: true }];
const ended = ["completed", "incomplete", "failed", "cancelled"];
const isText = (event) => event.type === "response.output_text.delta";
const answers = [];

// The SDK adds `output_text` to what create and retrieve return, and to nothing else.
const textOf = (response) => response.output.map((item) => item.content?.[0]?.text ?? "").join("");

async function streamsAndCollects() {
  const body = { model: model("sim-instant"), input, max_output_tokens: 12 };
  const events = await collect(await client.responses.create({ ...body, stream: true }));
  const streamed = events.at(-1).response;
  const helped = await client.responses.stream(body).finalResponse();
  const collected = await client.responses.create(body);
  const text = events.filter(isText).map((event) => event.delta).join("");
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.equal(events.at(-1).type, "response.incomplete");
  assert.equal(events.filter(isText).length, 12);
  assert.equal(collected.output_text, text);
  assert.equal(collected.incomplete_details.reason, "max_output_tokens");
  assert.deepEqual(collected.usage, streamed.usage);
  for (const response of [streamed, helped, collected]) {
    assert.equal(textOf(response), text);
    answers.push({ id: response.id, text, tokens: 12, closed_by: "server" });
  }
}

async function parsesAnAnswer() {
  const schema = {
    type: "object",
    properties: { name: { type: "string" }, depth_m: { type: "integer" } },
    required: ["name", "depth_m"],
    additionalProperties: false,
  };
  const format = { type: "json_schema", name: "lake", schema, strict: true };
  const response = await client.responses.parse({
    model: model("sim-instant"),
    input,
    text: { format },
    max_output_tokens: 200,
  });
  const lake = JSON.parse(response.output_text);
  assert.deepEqual(Object.keys(lake).sort(), ["depth_m", "name"]);
  assert.equal(response.status, "completed");
}

async function callsAFunction() {
  const stream = client.responses.stream({
    model: model("sim-tools"),
    input,
    tools,
    max_output_tokens: 200,
  });
  const pieces = [];
  stream.on("response.function_call_arguments.delta", (event) => pieces.push(event.delta));
  const first = await stream.finalResponse();
  const [call] = first.output;
  assert.equal(call.type, "function_call");
  assert.equal(call.name, "weather");
  assert.equal(call.arguments, pieces.join(""));
  assert.ok(Number.isInteger(JSON.parse(call.arguments).days));
  answers.push({ id: first.id, text: call.arguments, closed_by: "server" });
  const result = { type: "function_call_output", call_id: call.call_id, output: "Rain." };
  const { parsed_arguments, ...sent } = call;
  const ask = { model: model("sim-instant"), tools, max_output_tokens: 5 };
  // In the form in which it is kept: the simulator's words follow from the very JSON that it gets.
  const content = [{ type: "input_text", text: input }];
  const asked = { type: "message", role: "user", content };
  const second = await client.responses.create({ ...ask, input: [asked, sent, result] });
  assert.equal(second.usage.output_tokens, 5);
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  if (!isMidstream) return;
  const third = await client.responses.create({
    ...ask,
    previous_response_id: first.id,
    input: [result],
  });
  assert.equal(third.output_text, second.output_text);
}

async function runsInTheBackground() {
  const response = await client.responses.create({
    model: model("sim"),
    input,
    max_output_tokens: 10,
    background: true,
  });
  assert.ok(["queued", "in_progress"].includes(response.status));
  const now = await until(async () => {
    const read = await client.responses.retrieve(response.id);
    return ended.includes(read.status) && read;
  });
  assert.equal(now.status, "incomplete");
  answers.push({ id: now.id, text: now.output_text, tokens: 10, closed_by: "server" });

  await client.responses.delete(response.id);
  await assert.rejects(client.responses.retrieve(response.id), OpenAI.NotFoundError);
}

async function isTakenUpAgain() {
  const first = [];
  const stream = await client.responses.create({
    model: model("sim"),
    input,
    max_output_tokens: 20,
    background: true,
    stream: true,
  });
  for await (const event of stream) {
    first.push(event);
    if (isText(event)) break;
  }
  const id = first[0].response.id;
  const starting_after = first.at(-1).sequence_number;
  const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after }));
  const whole = await collect(await client.responses.retrieve(id, { stream: true }));
  assert.deepEqual([...first, ...rest], whole);
  const text = whole.filter(isText).map((event) => event.delta).join("");
  answers.push({ id, text, tokens: 20, closed_by: "server" });
}

async function isCancelled() {
  const { id } = await client.responses.create({
    model: model("sim-long"),
    input,
    max_output_tokens: 2000,
    background: true,
  });
  await until(async () => (await client.responses.retrieve(id)).output_text);
  const cancelled = await client.responses.cancel(id);
  assert.equal(cancelled.status, "cancelled");
  assert.ok(textOf(cancelled));
  assert.equal(textOf(await client.responses.cancel(id)), textOf(cancelled));
  answers.push({ id, text: textOf(cancelled), closed_by: "client" });
}

async function isCancelledElsewhere() {
  let text = "";
  let tokens = 0;
  let created;
  let last;
  const body = { model: model("sim-long"), input, max_output_tokens: 2000, stream: true };
  for await (const event of await client.responses.create(body)) {
    last = event;
    if (event.type === "response.created") created = event.response;
    if (!isText(event)) continue;
    text += event.delta;
    if (++tokens === 5) {
      const second = new OpenAI({ ...options, baseURL: `${baseURL}/v1` });
      assert.equal((await second.responses.cancel(created.id)).status, "cancelled");
    }
  }
  assert.equal(last.type, "response.incomplete");
  assert.equal(last.response.status, "cancelled");
  assert.equal(textOf(last.response), text);
  assert.equal(last.response.usage.output_tokens, tokens);
  answers.push({ id: created.id, text, closed_by: "client" });
}

async function listsWhatCameIn() {
  const said = ["Name a lake.", "A deep one.", "In one word."];
  const { id } = await client.responses.create({
    model: model("sim-instant"),
    input: said.map((content) => ({ role: "user", content })),
    max_output_tokens: 2,
  });
  const items = await collect(client.responses.inputItems.list(id, { limit: 2, order: "asc" }));
  assert.deepEqual(items.map((item) => item.content[0].text), said);
}

async function counts() {
  const body = { model: model("sim-instant"), input };
  const counted = await client.responses.inputTokens.count(body);
  const response = await client.responses.create({ ...body, max_output_tokens: 1 });
  assert.equal(counted.input_tokens, response.usage.input_tokens);
}

async function refuses() {
  const ask = (members, key = apiKey) =>
    new OpenAI({ ...options, apiKey: key, baseURL: `${baseURL}/v1` }).responses.create({
      model: "sim",
      input,
      ...members,
    });
  await assert.rejects(ask({ model: "nobody" }), OpenAI.NotFoundError);
  await assert.rejects(ask({ max_output_tokens: 0 }), OpenAI.BadRequestError);
  await assert.rejects(client.responses.cancel("resp_of_nobody"), OpenAI.NotFoundError);
  if (isMidstream) {
    await assert.rejects(ask({}, "al_live_" + "0".repeat(64)), OpenAI.AuthenticationError);
  }
}

await streamsAndCollects();
await parsesAnAnswer();
await callsAFunction();
await Promise.all([runsInTheBackground(), isTakenUpAgain(), isCancelled()]);
if (isMidstream) {
  await isCancelledElsewhere();
  await listsWhatCameIn();
}
await counts();
await refuses();
report(answers);
