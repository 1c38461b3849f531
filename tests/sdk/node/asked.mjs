// Who is asked, from the environment, and what every script does with its answers.

export const baseURL = process.env.ASKED_URL;
export const apiKey = process.env.ASKED_KEY;

// The simulator keeps no ids of others and cancels background answers alone.
export const isMidstream = process.env.ASKED_NAME !== "simulator";

// The name of a built-in model, asked for over the upstream wire format that the test chose.
export const model = (name) => name + (process.env.ASKED_SUFFIX ?? "");

export const options = { apiKey, maxRetries: 0, timeout: 60_000 };

export async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

export async function until(holds) {
  for (let tries = 0; tries < 600; tries++) {
    const value = await holds();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("not within 30 s");
}

// Tests read it: what was answered, to be held against what the upstream saw.
export const report = (value) => console.log(JSON.stringify(value));
