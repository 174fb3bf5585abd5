// The OpenAI SDK for Node against a gateway. Arguments: folder of the SDK, base URL, token, `word` or `echo`.
// Prints one JSON line per case: name, ok, detail.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [, , folder, baseURL, token, kind] = process.argv;
const resolve = createRequire(pathToFileURL(`${folder}/package.json`)).resolve;
const { default: OpenAI } = await import(pathToFileURL(resolve('openai')).href);

const client = new OpenAI({ baseURL, apiKey: token, timeout: 60_000, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Please say quince' }];
const ask = { model: 'openclaw', messages };

function answered(text) {
  if (kind === 'echo') assert.ok(text.includes('quince') && text.includes('dev/echo'), text);
  else assert.equal(text.trim(), 'The word is quince today.');
}

const cases = {
  'list models': async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    for (const id of ['openclaw', 'openclaw/default', 'openclaw/main']) assert.ok(ids.includes(id), ids.join());
  },
  retrieve: async () => {
    assert.equal((await client.models.retrieve('openclaw/default')).id, 'openclaw/default');
  },
  'retrieve unknown': async () => {
    await assert.rejects(client.models.retrieve('openclaw/nobody'), OpenAI.NotFoundError);
  },
  chat: async () => {
    const answer = await client.chat.completions.create(ask);
    answered(answer.choices[0].message.content);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.ok(answer.usage.total_tokens > 0);
  },
  'chat stream': async () => {
    let text = '';
    let pieces = 0;
    let last;
    const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta?.content;
      if (piece) pieces += 1;
      text += piece ?? '';
      last = chunk;
    }
    answered(text);
    assert.ok(pieces > 1, `${pieces} piece(s): not streamed`);
    assert.ok(last.usage?.total_tokens > 0, JSON.stringify(last));
  },
  'chat stream helper': async () => {
    const stream = client.chat.completions.stream(ask);
    let deltas = 0;
    stream.on('content', () => (deltas += 1));
    answered(await stream.finalContent());
    assert.ok(deltas > 1, `${deltas} delta(s)`);
    const final = await client.chat.completions.stream(ask).finalChatCompletion();
    assert.equal(final.choices[0].finish_reason, 'stop');
    answered(final.choices[0].message.content);
  },
  'abort a stream': async () => {
    const stream = await client.chat.completions.create({ ...ask, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices.length) break;
    }
    stream.controller.abort();
    assert.equal((await client.models.retrieve('openclaw')).id, 'openclaw');
  },
  'wrong token': async () => {
    const other = new OpenAI({ baseURL, apiKey: 'not-the-token', maxRetries: 0 });
    await assert.rejects(other.models.list(), OpenAI.AuthenticationError);
  },
  'bad request': async () => {
    await assert.rejects(client.chat.completions.create({ ...ask, messages: [] }), OpenAI.BadRequestError);
  },
  'in parallel': async () => {
    await Promise.all(Array.from({ length: 16 }, () => cases.chat()));
  },
};

for (const [name, run] of Object.entries(cases)) {
  let ok = true;
  let detail = '';
  try {
    await run();
  } catch (err) {
    ok = false;
    detail = `${err?.name}: ${err?.message}`;
  }
  console.log(JSON.stringify({ name, ok, detail }));
}
