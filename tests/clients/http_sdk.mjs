// The OpenAI SDK for Node against a gateway in front of tests/conformance/provider.py: every helper.
// Arguments: folder of the SDK, base URL, token. Prints one JSON line per case: name, ok, detail.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [, , folder, baseURL, token] = process.argv;
const resolve = createRequire(pathToFileURL(`${folder}/package.json`)).resolve;
const { default: OpenAI } = await import(pathToFileURL(resolve('openai')).href);

const client = new OpenAI({ baseURL, apiKey: token, timeout: 90_000, maxRetries: 0 });
const model = 'openclaw';
const said = 'Hello from the fake model.';
const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const user = (content) => [{ role: 'user', content }];
const call = 'CALLTOOL:get_weather {"city":"Paris"}';
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const fruit = {
  type: 'object',
  properties: { name: { type: 'string' }, count: { type: 'integer' } },
  required: ['name', 'count'],
  additionalProperties: false,
};
const chatFormat = { type: 'json_schema', json_schema: { name: 'fruit', strict: true, schema: fruit } };
const chatTool = { type: 'function', function: { name: 'get_weather', description: 'weather', parameters } };
const tool = { type: 'function', name: 'get_weather', description: 'weather', parameters, strict: false };

const cases = {
  'list models': async () => {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    assert.deepEqual(ids.slice(0, 3), ['openclaw', 'openclaw/default', 'openclaw/main']);
  },
  'retrieve a model': async () => {
    assert.equal((await client.models.retrieve('openclaw/default')).id, 'openclaw/default');
  },
  embeddings: async () => {
    const answer = await client.embeddings.create({ model, input: ['a', 'b'] });
    assert.deepEqual(answer.data.map((entry) => [...entry.embedding]), [[0.25, -0.5, 0.125], [0.25, -0.5, 1.125]]);
  },
  'embeddings as floats': async () => {
    const answer = await client.embeddings.create({ model, input: 'a', encoding_format: 'float' });
    assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 0.125]);
  },
  chat: async () => {
    const answer = await client.chat.completions.create({ model, messages: user('hi') });
    assert.equal(answer.choices[0].message.content, said);
  },
  'chat with an image': async () => {
    const parts = [
      { type: 'text', text: 'see' },
      { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } },
    ];
    const answer = await client.chat.completions.create({ model, messages: user(parts) });
    assert.equal(answer.choices[0].message.content, said);
  },
  'chat stream': async () => {
    let text = '';
    for await (const chunk of await client.chat.completions.create({ model, messages: user('hi'), stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? '';
    }
    assert.equal(text, said);
  },
  'chat stream helper': async () => {
    const stream = client.chat.completions.stream({ model, messages: user('hi') });
    assert.equal(await stream.finalContent(), said);
    const final = await client.chat.completions.stream({ model, messages: user('hi') }).finalChatCompletion();
    assert.equal(final.choices[0].finish_reason, 'stop');
  },
  'chat stream helper, no words': async () => {
    const final = await client.chat.completions.stream({ model, messages: user('EMPTY') }).finalChatCompletion();
    assert.equal(final.choices[0].message.content, 'No response from OpenClaw.');
  },
  'chat stream helper, usage': async () => {
    const stream = client.chat.completions.stream({ model, messages: user('hi'), stream_options: { include_usage: true } });
    assert.equal((await stream.totalUsage()).total_tokens, 18);
  },
  'chat parse': async () => {
    const answer = await client.chat.completions.parse({ model, messages: user('hi'), response_format: chatFormat });
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { name: 'fits', count: 7 });
  },
  'chat tool runner': async () => {
    const asked = [];
    const runner = client.chat.completions.runTools({
      model,
      messages: user(call),
      tools: [{ type: 'function', function: { ...chatTool.function, parse: JSON.parse, function: (args) => (asked.push(args), '20C') } }],
    });
    assert.equal(await runner.finalContent(), said);
    assert.deepEqual(asked, [{ city: 'Paris' }]);
  },
  'chat tool runner, stream': async () => {
    const asked = [];
    const runner = client.chat.completions.runTools({
      model,
      stream: true,
      messages: user(call),
      tools: [{ type: 'function', function: { ...chatTool.function, parse: JSON.parse, function: (args) => (asked.push(args), '20C') } }],
    });
    assert.equal(await runner.finalContent(), said);
    assert.deepEqual(asked, [{ city: 'Paris' }]);
  },
  response: async () => {
    const answer = await client.responses.create({ model, input: 'hi' });
    assert.equal(answer.output_text, said);
  },
  'response of short messages': async () => {
    const answer = await client.responses.create({ model, input: user('hi'), parallel_tool_calls: true, include: [] });
    assert.equal(answer.output_text, said);
  },
  'response stream': async () => {
    const kinds = [];
    for await (const event of await client.responses.create({ model, input: 'hi', stream: true })) kinds.push(event.type);
    assert.equal(kinds.at(0), 'response.created');
    assert.equal(kinds.at(-1), 'response.completed');
  },
  'response stream helper': async () => {
    const final = await client.responses.stream({ model, input: 'hi' }).finalResponse();
    assert.equal(final.output_text, said);
  },
  'response parse': async () => {
    const format = { type: 'json_schema', name: 'fruit', strict: true, schema: fruit };
    const answer = await client.responses.parse({ model, input: 'hi', text: { format } });
    assert.deepEqual(JSON.parse(answer.output_text), { name: 'fits', count: 7 });
  },
  'response tool stream helper': async () => {
    const final = await client.responses.stream({ model, input: call, tools: [tool] }).finalResponse();
    assert.deepEqual(final.output.filter((item) => item.type === 'function_call').map((item) => item.name), ['get_weather']);
  },
  'response tool round trip': async () => {
    const first = await client.responses.create({ model, input: call, tools: [tool] });
    const asked = first.output.find((item) => item.type === 'function_call');
    const input = [{ type: 'function_call_output', call_id: asked.call_id, output: '20C' }];
    const second = await client.responses.create({ model, previous_response_id: first.id, input, tools: [tool] });
    assert.equal(second.output_text, said);
  },
  'wrong key': async () => {
    const other = new OpenAI({ baseURL, apiKey: 'not-the-token', maxRetries: 0 });
    await assert.rejects(async () => await other.models.list(), OpenAI.AuthenticationError);
  },
  'bad request': async () => {
    await assert.rejects(client.chat.completions.create({ model: 'gpt-4o', messages: user('hi') }), OpenAI.BadRequestError);
  },
  'no stored response': async () => {
    await assert.rejects(client.responses.retrieve('resp_x'), OpenAI.NotFoundError);
  },
  'failure in a stream': async () => {
    const stream = await client.chat.completions.create({ model, messages: user('FAIL400'), stream: true });
    await assert.rejects(async () => {
      for await (const chunk of stream) assert.ok(chunk);
    }, OpenAI.APIError);
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
