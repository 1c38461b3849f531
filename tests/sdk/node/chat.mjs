// Chat completions through OpenAI's SDK: streamed, collected, with a tool, cancelled, refused.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { apiKey, baseURL, collect, isMidstream, model, options, report } from "./asked.mjs";

const client = new OpenAI({ ...options, baseURL: `${baseURL}/v1` });
const messages = [{ role: "user", content: "Name a lake." }];
const parameters = {
  type: "object",
  properties: { place: { type: "string" }, days: { type: "integer" } },
  required: ["place", "days"],
};
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const answers = [];

async function streams() {
  const chunks = await collect(
    await client.chat.completions.create({
      model: model("sim-instant"),
      messages,
      max_tokens: 12,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const texts = chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean);
  const reasons = chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean);
  const usage = chunks.findLast((chunk) => chunk.usage).usage;
  assert.equal(texts.length, 12);
  assert.equal(usage.completion_tokens, 12);
  assert.deepEqual(reasons, ["length"]);
  answers.push({ id: chunks[0].id, text: texts.join(""), tokens: 12, closed_by: "server" });
  return texts.join("");
}

async function collects(text) {
  const completion = await client.chat.completions.create({
    model: model("sim-instant"),
    messages,
    max_tokens: 12,
  });
  assert.equal(completion.choices[0].message.content, text);
  assert.equal(completion.choices[0].finish_reason, "length");
  assert.equal(completion.usage.completion_tokens, 12);
  answers.push({ id: completion.id, text, tokens: 12, closed_by: "server" });
}

async function callsATool() {
  const stream = client.chat.completions.stream({
    model: model("sim-tools"),
    messages,
    tools,
    max_tokens: 200,
  });
  const first = await stream.finalChatCompletion();
  const message = first.choices[0].message;
  const [call] = message.tool_calls;
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  assert.equal(call.function.name, "weather");
  const given = JSON.parse(call.function.arguments);
  assert.deepEqual(Object.keys(given).sort(), ["days", "place"]);
  assert.ok(Number.isInteger(given.days));
  answers.push({ id: first.id, text: call.function.arguments, closed_by: "server" });
  const result = { role: "tool", tool_call_id: call.id, content: "Rain." };
  const second = await client.chat.completions.create({
    model: model("sim-instant"),
    messages: [...messages, message, result],
    tools,
    max_tokens: 5,
  });
  assert.equal(second.usage.completion_tokens, 5);
}

async function isCancelledElsewhere() {
  let text = "";
  let tokens = 0;
  let last;
  const stream = await client.chat.completions.create({
    model: model("sim-long"),
    messages,
    max_tokens: 2000,
    stream: true,
  });
  for await (const chunk of stream) {
    last = chunk;
    const content = chunk.choices[0].delta.content;
    if (!content) continue;
    text += content;
    if (++tokens === 5) {
      const second = new OpenAI({ ...options, baseURL: `${baseURL}/v1` });
      await second.post(`/chat/completions/${chunk.id}/cancel`);
    }
  }
  assert.equal(last.choices[0].finish_reason, "cancelled");
  assert.equal(last.usage.completion_tokens, tokens);
  answers.push({ id: last.id, text, closed_by: "client" });
}

async function refuses() {
  const ask = (members, key = apiKey) =>
    new OpenAI({ ...options, apiKey: key, baseURL: `${baseURL}/v1` }).chat.completions.create({
      model: "sim",
      messages,
      ...members,
    });
  await assert.rejects(ask({ model: "nobody" }), OpenAI.NotFoundError);
  await assert.rejects(ask({ max_tokens: 0 }), OpenAI.BadRequestError);
  if (isMidstream) {
    await assert.rejects(ask({}, "al_live_" + "0".repeat(64)), OpenAI.AuthenticationError);
  }
}

await collects(await streams());
await callsATool();
if (isMidstream) await isCancelledElsewhere();
await refuses();
report(answers);
