// The official Anthropic SDK against the gateway.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { done, fails, forget, requests, stats, test, until } from './tap.mjs';

const {
  GATEWAY, GATEWAY6, SMALL, DOWN, NOWHERE, SLOW, ANTHROPIC_KEY,
} = process.env;

const make = (baseURL, token, options = {}) =>
  new Anthropic({
    apiKey: `container-${token}`, baseURL: baseURL.replace(/\/v1$/, ''),
    maxRetries: 0, ...options,
  });

const client = make(GATEWAY, 'dev-env');
const hello = {
  model: 'claude-sonnet-4',
  max_tokens: 100,
  messages: [{ role: 'user', content: 'Hello' }],
};
const id = /^[0-9a-f]{32}$/;


await test('message', async () => {
  await forget();

  const { data, response, request_id } = await client.messages
    .create(hello, { headers: { 'X-Sample-Text': 'Good day' } })
    .withResponse();

  assert.equal(data.content[0].text, 'Good day');
  assert.equal(data.stop_reason, 'end_turn');
  assert.ok(data.usage.output_tokens > 0);
  assert.match(response.headers.get('x-request-id'), id);
  assert.ok(response.headers.get('x-provider-request-id')
    || request_id !== undefined);

  const [seen] = await requests();

  assert.equal(seen.uri, '/v1/messages');
  assert.equal(seen.headers['x-api-key'], ANTHROPIC_KEY);
  assert.equal(seen.headers.authorization, undefined);
  assert.ok(seen.headers['anthropic-version']);
  assert.deepEqual(JSON.parse(seen.body), hello);
});

await test('a bearer token serves as well', async () => {
  const bearer = make(GATEWAY, 'x', {
    apiKey: null, authToken: 'container-dev-env',
  });

  assert.ok((await bearer.messages.create(hello)).content[0].text);
});

await test('streamed message', async () => {
  const stream = client.messages.stream(hello, {
    headers: { 'X-Sample-Text': 'one two three', 'X-Sample-Chunks': '5' },
  });
  let text = '';

  stream.on('text', (piece) => { text += piece; });

  const message = await stream.finalMessage();

  assert.equal(text, 'one two three');
  assert.equal(message.content[0].text, 'one two three');
  assert.ok(message.usage.output_tokens > 0);
});

await test('raw events in their order', async () => {
  const stream = await client.messages.create(
    { ...hello, stream: true }, { headers: { 'X-Sample-Chunks': '3' } },
  );
  const types = [];

  for await (const event of stream) {
    types.push(event.type);
  }

  assert.equal(types[0], 'message_start');
  assert.equal(types.at(-1), 'message_stop');
});

await test('tools, there and back', async () => {
  const tools = [{
    name: 'get_weather',
    description: 'Weather of a city',
    input_schema: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
    },
  }];
  const messages = [{ role: 'user', content: 'Use get_weather please' }];
  const first = await client.messages.create({ ...hello, messages, tools });
  const call = first.content.find((block) => block.type === 'tool_use');

  assert.equal(first.stop_reason, 'tool_use');
  assert.equal(call.name, 'get_weather');
  assert.equal(typeof call.input.city, 'string');

  const second = await client.messages.create({
    ...hello, tools, messages: [
      ...messages,
      { role: 'assistant', content: first.content },
      { role: 'user', content: [
        { type: 'tool_result', tool_use_id: call.id, content: 'rain' },
      ] },
    ],
  });

  assert.equal(second.stop_reason, 'end_turn');
});

await test('streamed tools', async () => {
  const message = await client.messages.stream({
    ...hello,
    messages: [{ role: 'user', content: 'Use get_time please' }],
    tools: [{ name: 'get_time', input_schema: { type: 'object' } }],
  }).finalMessage();

  assert.equal(message.stop_reason, 'tool_use');
});

await test('count_tokens', async () => {
  const { input_tokens } = await client.messages.countTokens({
    model: hello.model, messages: hello.messages,
  });

  assert.ok(input_tokens > 0);
});

await test('models', async () => {
  const names = [];

  for await (const model of client.models.list()) {
    names.push(model.id);
  }

  assert.ok(names.length > 0);
  assert.equal((await client.models.retrieve(names[0])).id, names[0]);
});


const kind = (error) => error.error?.error?.type;

await test('401 is AuthenticationError', async () => {
  const error = await fails(
    make(GATEWAY, 'nobody').messages.create(hello),
    Anthropic.AuthenticationError, { status: 401 },
  );

  assert.equal(kind(error), 'authentication_error');
  assert.match(error.error.request_id, id);
  assert.equal(error.error.request_id, error.headers.get('x-request-id'));
});

await test('403 is PermissionDeniedError', async () => {
  const error = await fails(
    make(GATEWAY6, 'off-env').messages.create(hello),
    Anthropic.PermissionDeniedError, { status: 403 },
  );

  assert.equal(kind(error), 'permission_error');
});

await test('404 is NotFoundError', () => fails(
  client.post('/v1/nothing', { body: {} }),
  Anthropic.NotFoundError, { status: 404 },
));

await test('400 is BadRequestError', async () => {
  const error = await fails(
    client.messages.create({ ...hello, model: '' }),
    Anthropic.BadRequestError, { status: 400 },
  );

  assert.equal(kind(error), 'invalid_request_error');
});

await test('413 is an APIError', async () => {
  const error = await fails(
    make(SMALL, 'dev-env').messages.create({
      ...hello, messages: [{ role: 'user', content: 'x'.repeat(3000) }],
    }),
    Anthropic.APIError, { status: 413 },
  );

  assert.equal(kind(error), 'request_too_large');
});

await test('502 is InternalServerError', async () => {
  const error = await fails(
    make(NOWHERE, 'dev-env').messages.create(hello),
    Anthropic.InternalServerError, { status: 502 },
  );

  assert.equal(kind(error), 'api_error');
});

await test('503 is InternalServerError', async () => {
  const error = await fails(
    make(DOWN, 'dev-env').messages.create(hello),
    Anthropic.InternalServerError, { status: 503 },
  );

  assert.equal(kind(error), 'api_error');
  assert.ok(Number(error.headers.get('retry-after')) > 0);
});

await test('504 is InternalServerError', async () => {
  const error = await fails(
    make(SLOW, 'dev-env').messages.create(
      hello, { headers: { 'X-Sample-Stall': '-1' } },
    ),
    Anthropic.InternalServerError, { status: 504 },
  );

  assert.equal(kind(error), 'timeout_error');
});

for (const status of [400, 404, 429, 500, 529]) {
  await test(`the provider's own ${status} is passed on`, async () => {
    const error = await fails(
      client.messages.create(
        hello, { headers: { 'X-Sample-Status': `${status}` } },
      ),
      Anthropic.APIError, { status },
    );

    assert.equal(error.error.type, 'error');
    assert.notEqual(error.error.request_id, error.headers.get('x-request-id'));
    assert.match(error.headers.get('x-request-id'), id);
  });
}

await test('an error in a stream is thrown', async () => {
  const stream = await client.messages.create(
    { ...hello, stream: true },
    { headers: { 'X-Sample-Chunks': '6', 'X-Sample-Stream-Error': '3' } },
  );

  await fails(
    (async () => { for await (const event of stream) { void event; } })(),
    Anthropic.APIError, {},
  );
});

await test('an abort in a stream reaches the provider', async () => {
  const before = (await stats()).client_aborts;
  const stream = await client.messages.create(
    { ...hello, stream: true },
    { headers: { 'X-Sample-Chunks': '1000', 'X-Sample-Delay': '20' } },
  );

  for await (const event of stream) {
    void event;
    break;
  }

  await until(
    async () => (await stats()).client_aborts === before + 1, 'abort seen',
  );
});

await test('an abort before the answer reaches the provider', async () => {
  const before = await stats();
  const controller = new AbortController();
  const promise = client.messages.create(hello, {
    headers: { 'X-Sample-Stall': '-1' }, signal: controller.signal,
  });

  await until(
    async () => (await stats()).requests > before.requests, 'request seen',
  );
  controller.abort();
  await fails(promise, Anthropic.APIUserAbortError, {});
  await until(
    async () => (await stats()).client_aborts === before.client_aborts + 1,
    'abort seen',
  );
});

await test('retries follow Retry-After', async () => {
  await forget();

  await fails(
    make(GATEWAY, 'dev-env', { maxRetries: 1 }).messages.create(
      hello, { headers: { 'X-Sample-Status': '503' } },
    ),
    Anthropic.InternalServerError, { status: 503 },
  );

  assert.equal((await requests()).length, 2);
});

done();
