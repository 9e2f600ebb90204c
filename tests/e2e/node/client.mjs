// OpenAI's official JavaScript client, unmodified: `node client.mjs CASE JSON` prints what it saw.
// Settings come from OPENAI_BASE_URL and OPENAI_API_KEY, as for any program that uses the client.
import OpenAI from "openai";

const [, , name, text = "{}"] = process.argv;
const asked = JSON.parse(text);
const client = new OpenAI({ maxRetries: 0, ...asked.options });
const body = { model: "sim-fast", messages: [{ role: "user", content: asked.prompt ?? "Hello." }], ...asked.body };

async function collect(stream) {
  let content = "";
  let usage = null;
  const ids = new Set();
  const reasons = [];
  for await (const chunk of stream) {
    ids.add(chunk.id);
    usage = chunk.usage ?? usage;
    for (const choice of chunk.choices) {
      content += choice.delta.content ?? "";
      if (choice.finish_reason) reasons.push(choice.finish_reason);
    }
  }
  return { content, usage, ids: ids.size, reasons };
}

const cases = {
  async chat() {
    const { data, response, request_id } = await client.chat.completions.create(body).withResponse();
    const message = data.choices[0].message;
    return {
      content: message.content,
      reason: data.choices[0].finish_reason,
      usage: data.usage,
      requestId: request_id,
      cache: response.headers.get("x-cache"),
    };
  },
  async stream() {
    const stream = await client.chat.completions.create({ ...body, stream: true });
    return collect(stream);
  },
  async tools() {
    const runner = client.chat.completions.stream(body);
    const final = await runner.finalChatCompletion();
    const call = final.choices[0].message.tool_calls[0];
    return {
      reason: final.choices[0].finish_reason,
      name: call.function.name,
      arguments: JSON.parse(call.function.arguments),
    };
  },
  async embeddings() {
    const answer = await client.embeddings.create(asked.body);
    return { lengths: answer.data.map((item) => item.embedding.length), usage: answer.usage };
  },
  async completions() {
    const answer = await client.completions.create(asked.body);
    return { texts: answer.choices.map((choice) => choice.text) };
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    const one = await client.models.retrieve(asked.model);
    return { ids, one: one.id };
  },
};

try {
  console.log(JSON.stringify(await cases[name]()));
} catch (error) {
  console.log(
    JSON.stringify({
      error: error.constructor.name,
      status: error.status ?? null,
      code: error.code ?? null,
      param: error.param ?? null,
      requestId: error.requestID ?? null,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
      isApiError: error instanceof OpenAI.APIError,
    }),
  );
}
