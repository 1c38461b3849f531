// Messages through Anthropic's SDK: streamed, collected, with a tool, thinking, counted, cancelled,
// refused.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { apiKey, baseURL, collect, isMidstream, model, options, report } from "./asked.mjs";

const client = new Anthropic({ ...options, baseURL });
const messages = [{ role: "user", content: "Name a lake." }];
const input_schema = {
  type: "object",
  properties: { place: { type: "string" }, days: { type: "integer" } },
  required: ["place", "days"],
};
const tools = [{ name: "weather", description: "The weather of a place.", input_schema }];
const answers = [];

// The runtime's own id of a message, which is what the upstream sees.
const completionId = (message) => message.midstream?.completion_id ?? "";

async function streamsAndCollects() {
  const body = { model: model("sim-instant"), system: "Be brief.", messages, max_tokens: 12 };
  const events = await collect(await client.messages.create({ ...body, stream: true }));
  const accumulated = await client.messages.stream(body).finalMessage();
  const collected = await client.messages.create(body);
  const deltas = events.filter((event) => event.type === "content_block_delta");
  const text = deltas.map((event) => event.delta.text).join("");
  assert.equal(deltas.length, 12);
  assert.equal(events[0].type, "message_start");
  assert.equal(events.at(-2).delta.stop_reason, "max_tokens");
  assert.equal(events.at(-1).type, "message_stop");
  for (const message of [accumulated, collected]) {
    assert.equal(message.content[0].text, text);
    assert.equal(message.stop_reason, "max_tokens");
    assert.equal(message.usage.output_tokens, 12);
    assert.equal(message.usage.input_tokens, collected.usage.input_tokens);
  }
  answers.push({ id: completionId(collected), text, tokens: 12, closed_by: "server" });
}

async function callsATool() {
  const body = { model: model("sim-tools"), messages, tools, max_tokens: 200 };
  const stream = client.messages.stream(body);
  let pieces = 0;
  stream.on("inputJson", () => pieces++);
  const streamed = await stream.finalMessage();
  const first = await client.messages.create(body);
  const [call] = first.content;
  assert.ok(pieces > 1);
  assert.equal(streamed.stop_reason, "tool_use");
  assert.equal(first.stop_reason, "tool_use");
  assert.equal(call.name, "weather");
  assert.deepEqual(streamed.content[0].input, call.input);
  assert.ok(Number.isInteger(call.input.days));
  answers.push({ id: completionId(first), closed_by: "server" });
  const result = { type: "tool_result", tool_use_id: call.id, content: "Rain." };
  const second = await client.messages.create({
    model: model("sim-instant"),
    messages: [
      ...messages,
      { role: "assistant", content: streamed.content },
      { role: "user", content: [result] },
    ],
    tools,
    max_tokens: 5,
  });
  assert.equal(second.usage.output_tokens, 5);
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
}

async function thinks() {
  const body = {
    model: model("sim-reasoning"),
    messages,
    thinking: { type: "adaptive" },
    max_tokens: 10,
  };
  const stream = client.messages.stream(body);
  let thoughts = "";
  stream.on("thinking", (delta) => (thoughts += delta));
  const [thought, said] = (await stream.finalMessage()).content;
  assert.equal(thought.type, "thinking");
  assert.equal(thought.thinking, thoughts);
  assert.equal(typeof thought.signature, "string");
  assert.ok(said.text);
}

async function counts() {
  const body = { model: model("sim-instant"), messages, tools };
  const counted = await client.messages.countTokens(body);
  const message = await client.messages.create({ ...body, max_tokens: 1 });
  assert.equal(counted.input_tokens, message.usage.input_tokens);
}

async function isCancelledElsewhere() {
  let text = "";
  let tokens = 0;
  const stream = client.messages.stream({ model: model("sim-long"), messages, max_tokens: 2000 });
  for await (const event of stream) {
    if (event.type !== "content_block_delta") continue;
    text += event.delta.text;
    if (++tokens === 5) {
      const second = new Anthropic({ ...options, baseURL });
      await second.post(`/v1/messages/async/${stream.currentMessage.id}/cancel`, { body: {} });
    }
  }
  const message = await stream.finalMessage();
  assert.equal(message.stop_reason, "cancelled");
  assert.equal(message.content[0].text, text);
  assert.equal(message.usage.output_tokens, tokens);
  const status = await client.get(`/v1/messages/async/${message.id}/status`);
  assert.equal(status.status, "cancelled");
  answers.push({ id: completionId(status), text, closed_by: "client" });
}

async function refuses() {
  const ask = (members, key = apiKey) =>
    new Anthropic({ ...options, apiKey: key, baseURL }).messages.create({
      model: "sim",
      messages,
      max_tokens: 9,
      ...members,
    });
  await assert.rejects(ask({ model: "nobody" }), Anthropic.NotFoundError);
  if (isMidstream) {
    await assert.rejects(ask({ messages: [] }), Anthropic.BadRequestError);
    await assert.rejects(ask({}, "al_live_" + "0".repeat(64)), Anthropic.AuthenticationError);
  }
}

await streamsAndCollects();
await callsATool();
await thinks();
await counts();
if (isMidstream) await isCancelledElsewhere();
await refuses();
report(answers);
