// The Vercel AI SDK: its OpenAI provider's two APIs, the compatible one, and Anthropic's.
//
// Prints a line of JSON per scenario, as the Python clients' scripts do; see ../python/asked.py.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from "ai";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const { ASKED_URL, ASKED_KEY, ASKED_MODEL, ASKED_LOG, ASKED_MARK } = process.env;
const at = { baseURL: `${ASKED_URL}/v1`, apiKey: ASKED_KEY };

const HELLO = "Please greet me.";
const WEATHER = "How is the weather?";
const FIRST = "What did I say first?";
const SUNNY = "sunny and 21 degrees";

const compatible = { name: "midstream", includeUsage: true, supportsStructuredOutputs: true };
const ways = {
  responses: createOpenAI(at)(ASKED_MODEL),
  chat: createOpenAI(at).chat(ASKED_MODEL),
  compatible: createOpenAICompatible({ ...at, ...compatible })(ASKED_MODEL),
  anthropic: createAnthropic(at)(ASKED_MODEL),
};
const city = z.object({ name: z.string(), population: z.number().int() });
const weather = tool({
  description: "Tell the weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `${SUNNY} in ${city}`,
});

function has(text, part) {
  if (!String(text).includes(part)) throw new Error(`${part} is not in ${text}`);
}

function is(value, wanted) {
  if (JSON.stringify(value) !== JSON.stringify(wanted)) {
    throw new Error(`${JSON.stringify(value)} is not ${JSON.stringify(wanted)}`);
  }
}

async function closedByClient(prompt) {
  const end = Date.now() + 20_000;
  for (;;) {
    const answer = await fetch(`${ASKED_LOG}/_log?prompt=${encodeURIComponent(prompt)}`);
    const ends = (await answer.json()).data.map((row) => row.closed_by);
    if (ends.length && !ends.includes(null)) return is([...new Set(ends)], ["client"]);
    if (Date.now() > end) throw new Error("still open");
    await sleep(50);
  }
}

const ask = { maxRetries: 0, onError: () => {} };

const scenarios = {
  async hello(model) {
    const { text, finishReason } = await generateText({ model, prompt: HELLO, ...ask });
    has(text, "Hello");
    is(finishReason, "stop");
    const streamed = streamText({ model, prompt: HELLO, ...ask });
    has(await streamed.text, "Hello");
    if (!((await streamed.usage).outputTokens > 0)) throw new Error("no usage");
  },

  // Several steps, then two further turns: the default provider refers to its items by their ids.
  async tools(model) {
    const messages = [{ role: "user", content: WEATHER }];
    const more = { tools: { weather }, stopWhen: stepCountIs(5), ...ask };
    const first = streamText({ model, messages, ...more });
    has(await first.text, SUNNY);
    is((await first.steps).length, 2);
    messages.push(...(await first.response).messages, { role: "user", content: "The weather again?" });
    const second = await generateText({ model, messages, ...more });
    has(second.text, SUNNY);
    messages.push(...second.response.messages, { role: "user", content: FIRST });
    has((await generateText({ model, messages, ...more })).text, WEATHER);
  },

  async object(model) {
    const wanted = { name: "Ada", population: 42 };
    is((await generateObject({ model, schema: city, prompt: "Describe a city.", ...ask })).object, wanted);
    const streamed = streamObject({ model, schema: city, prompt: "Describe a city.", ...ask });
    for await (const _ of streamed.partialObjectStream);
    is(await streamed.object, wanted);
    const output = Output.object({ schema: city });
    is((await generateText({ model, output, prompt: "Describe a city.", ...ask })).output, wanted);
  },

  async required(model) {
    for (const toolChoice of ["required", { type: "tool", toolName: "weather" }]) {
      const answer = await generateText({ model, prompt: HELLO, tools: { weather }, toolChoice, ...ask });
      is(answer.toolCalls.map((call) => call.toolName), ["weather"]);
    }
  },

  async manyTurns(model) {
    const messages = [{ role: "user", content: "the very first" }];
    for (let turn = 0; turn < 8; turn++) {
      const answer = await generateText({ model, messages, ...ask });
      messages.push(...answer.response.messages, { role: "user", content: `turn ${turn}` });
    }
    messages.push({ role: "user", content: FIRST });
    has((await generateText({ model, messages, ...ask })).text, "the very first");
  },

  async thinks(model, way) {
    const efforts = { reasoningEffort: "low", reasoningSummary: "auto" };
    const thinking = { type: "enabled", budgetTokens: 1024 };
    const providerOptions = { openai: efforts, midstream: { reasoningEffort: "low" }, anthropic: { thinking } };
    const messages = [{ role: "user", content: WEATHER }];
    const more = { tools: { weather }, stopWhen: stepCountIs(5), providerOptions, ...ask };
    const first = await generateText({ model, messages, ...more });
    has(first.text, SUNNY);
    messages.push(...first.response.messages, { role: "user", content: FIRST });
    has(await streamText({ model, messages, ...more }).text, WEATHER);
  },

  async cancel(model, way) {
    const prompt = `Count slowly for ${ASKED_MARK} ${way}.`;
    const stop = new AbortController();
    const streamed = streamText({ model, prompt, abortSignal: stop.signal, ...ask });
    let count = 0;
    for await (const _ of streamed.textStream) {
      if (++count === 3) stop.abort();
    }
    await closedByClient(prompt);
  },
};

const only = process.argv.slice(2);
for (const [name, scenario] of Object.entries(scenarios)) {
  for (const [way, model] of Object.entries(ways)) {
    const row = { scenario: `${name}[${way}]`, error: "" };
    if (only.length && !only.some((one) => row.scenario.includes(one))) continue;
    try {
      await scenario(model, way);
    } catch (error) {
      row.error = `${error.stack}\n${error.responseBody ?? ""}`;
    }
    console.log(JSON.stringify(row));
  }
}
process.exit(0);
