// Stream an answer with OpenAI's own JavaScript client; nothing here knows of Millrace.
// Run:  npm install openai && OPENAI_BASE_URL=http://127.0.0.1:8080/v1 \
//       OPENAI_API_KEY=$(cat .millrace/dev-key) node examples/openai_chat.mjs "Why do rivers meander?"
import OpenAI from "openai";

const question = process.argv.slice(2).join(" ") || "Why do rivers meander?";
const stream = await new OpenAI().chat.completions.create({
  model: process.env.MODEL ?? "millrace-demo",
  messages: [{ role: "user", content: question }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
process.stdout.write("\n");
