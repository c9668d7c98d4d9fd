// The official OpenAI SDK against the gateway.

import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import OpenAI, { toFile } from 'openai';
import { done, fails, forget, requests, stats, test, until } from './tap.mjs';

const {
  GATEWAY, GATEWAY6, SMALL, DOWN, NOWHERE, SLOW, OPENAI_KEY,
} = process.env;

// the SDK wants the global, which Node has had since 20; Debian 12 has 18
globalThis.File ??= File;

const make = (baseURL, token, options = {}) =>
  new OpenAI({
    apiKey: `container-${token}`, baseURL, maxRetries: 0, ...options,
  });

const client = make(GATEWAY, 'dev-env');
const hello = {
  model: 'gpt-4o',
  messages: [{ role: 'user', content: 'Hello' }],
};
const id = /^[0-9a-f]{32}$/;


await test('chat', async () => {
  await forget();

  const { data, response, request_id } = await client.chat.completions
    .create(hello, { headers: { 'X-Sample-Text': 'Good day' } })
    .withResponse();

  assert.equal(data.choices[0].message.content, 'Good day');
  assert.equal(data.choices[0].finish_reason, 'stop');
  assert.ok(data.usage.total_tokens > 0);
  assert.match(request_id, id);
  assert.equal(data._request_id, request_id);
  assert.ok(response.headers.get('x-provider-request-id'));

  const [seen] = await requests();

  assert.equal(seen.uri, '/v1/chat/completions');
  assert.equal(seen.headers.authorization, `Bearer ${OPENAI_KEY}`);
  assert.deepEqual(JSON.parse(seen.body), hello);
});

await test('streamed chat', async () => {
  const stream = await client.chat.completions.create(
    { ...hello, stream: true, stream_options: { include_usage: true } },
    { headers: { 'X-Sample-Text': 'one two three', 'X-Sample-Chunks': '5' } },
  );
  let text = '';
  let usage;

  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    usage = chunk.usage ?? usage;
  }

  assert.equal(text, 'one two three');
  assert.ok(usage.total_tokens > 0);
});

await test('tools, until the model is content', async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    ...hello,
    messages: [{ role: 'user', content: 'Use get_weather please' }],
    tools: [{
      type: 'function',
      function: {
        name: 'get_weather',
        description: 'Weather of a city',
        parameters: {
          type: 'object',
          properties: { city: { type: 'string' } },
          required: ['city'],
        },
        parse: JSON.parse,
        function: (input) => {
          asked.push(input);
          return 'rain';
        },
      },
    }],
  });
  const text = await runner.finalContent();

  assert.equal(asked.length, 1);
  assert.equal(typeof asked[0].city, 'string');
  assert.ok(text.length > 0);
});

await test('streamed tools', async () => {
  const runner = client.chat.completions.runTools({
    ...hello,
    stream: true,
    messages: [{ role: 'user', content: 'Use get_time please' }],
    tools: [{
      type: 'function',
      function: {
        name: 'get_time',
        description: 'The time',
        parameters: { type: 'object', properties: {} },
        parse: JSON.parse,
        function: () => 'noon',
      },
    }],
  });

  assert.ok((await runner.finalContent()).length > 0);
  assert.ok(runner.messages.some((message) => message.role === 'tool'));
});

await test('models', async () => {
  const names = [];

  for await (const model of client.models.list()) {
    names.push(model.id);
  }

  assert.ok(names.length > 0);
  assert.equal((await client.models.retrieve(names[0])).id, names[0]);
});

await test('embeddings', async () => {
  const { data } = await client.embeddings.create({
    model: 'text-embedding-3-small', input: ['one', 'two'],
  });

  assert.equal(data.length, 2);
  assert.equal(typeof data[0].embedding[0], 'number');
});

await test('responses', async () => {
  const answer = await client.responses.create(
    { model: 'gpt-4o', input: 'Hello' },
    { headers: { 'X-Sample-Text': 'Good day' } },
  );

  assert.equal(answer.output_text, 'Good day');
  assert.equal(answer.status, 'completed');
});

await test('streamed responses', async () => {
  const stream = await client.responses.create(
    { model: 'gpt-4o', input: 'Hello', stream: true },
    { headers: { 'X-Sample-Text': 'one two three', 'X-Sample-Chunks': '4' } },
  );
  let text = '';
  let last;

  for await (const event of stream) {
    if (event.type === 'response.output_text.delta') {
      text += event.delta;
    }

    last = event;
  }

  assert.equal(text, 'one two three');
  assert.equal(last.type, 'response.completed');
});

await test('moderations', async () => {
  const { results } = await client.moderations.create({
    model: 'omni-moderation-latest', input: 'kind words',
  });

  assert.equal(typeof results[0].flagged, 'boolean');
});

await test('images', async () => {
  const { data } = await client.images.generate({
    model: 'gpt-image-1', prompt: 'a house',
  });

  assert.ok(data[0].b64_json || data[0].url);
});

await test('audio, as multipart', async () => {
  await forget();

  const bytes = Buffer.alloc(300000, 0x55);
  const { text } = await client.audio.transcriptions.create({
    model: 'whisper-1', file: await toFile(bytes, 'voice.wav'),
  });

  assert.equal(typeof text, 'string');

  const [seen] = await requests();

  assert.match(seen.headers['content-type'], /^multipart\/form-data; boundary/);
  assert.ok(seen.body_length > bytes.length);
});


await test('401 is AuthenticationError', async () => {
  const error = await fails(
    make(GATEWAY, 'nobody').chat.completions.create(hello),
    OpenAI.AuthenticationError,
    { status: 401, code: 'invalid_identity', type: 'authentication_error' },
  );

  assert.match(error.requestID, id);
});

await test('403 is PermissionDeniedError', () => fails(
  make(GATEWAY6, 'off-env').chat.completions.create(hello),
  OpenAI.PermissionDeniedError,
  { status: 403, code: 'ai_disabled', type: 'permission_error' },
));

await test('404 is NotFoundError', () => fails(
  client.post('/fine_tuning/jobs', { body: {} }),
  OpenAI.NotFoundError,
  { status: 404, code: 'unknown_route', type: 'invalid_request_error' },
));

await test('stored objects are 404 or refused', async () => {
  const error = await fails(
    client.responses.retrieve('resp_1'), OpenAI.APIError, {},
  );

  assert.ok([400, 403, 404].includes(error.status), `${error.status}`);
  assert.match(error.requestID, id);
});

await test('400 is BadRequestError', () => fails(
  client.chat.completions.create({ ...hello, model: '' }),
  OpenAI.BadRequestError,
  { status: 400, code: 'invalid_body', type: 'invalid_request_error',
    param: null },
));

await test('413 is an APIError', () => fails(
  make(SMALL, 'dev-env').chat.completions.create({
    ...hello, messages: [{ role: 'user', content: 'x'.repeat(3000) }],
  }),
  OpenAI.APIError,
  { status: 413, code: 'body_too_large', type: 'invalid_request_error' },
));

await test('502 is InternalServerError', () => fails(
  make(NOWHERE, 'dev-env').chat.completions.create(hello),
  OpenAI.InternalServerError,
  { status: 502, code: 'provider_unavailable', type: 'api_error' },
));

await test('503 is InternalServerError', async () => {
  const error = await fails(
    make(DOWN, 'dev-env').chat.completions.create(hello),
    OpenAI.InternalServerError,
    { status: 503, code: 'registry_unavailable', type: 'api_error' },
  );

  assert.ok(Number(error.headers.get('retry-after')) > 0);
});

await test('504 is InternalServerError', () => fails(
  make(SLOW, 'dev-env').chat.completions.create(
    hello, { headers: { 'X-Sample-Stall': '-1' } },
  ),
  OpenAI.InternalServerError,
  { status: 504, code: 'provider_timeout', type: 'timeout_error' },
));

for (const status of [400, 401, 403, 404, 422, 429, 500, 503]) {
  await test(`the provider's own ${status} is passed on`, async () => {
    const direct = await fetch(`${process.env.PROVIDER}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        'authorization': `Bearer ${OPENAI_KEY}`,
        'content-type': 'application/json',
        'x-sample-status': `${status}`,
      },
      body: JSON.stringify(hello),
    });
    const expected = (await direct.json()).error;
    const error = await fails(
      client.chat.completions.create(
        hello, { headers: { 'X-Sample-Status': `${status}` } },
      ),
      OpenAI.APIError,
      { status, error: expected },
    );

    assert.match(error.requestID, id);
    assert.ok(error.headers.get('x-provider-request-id'));
    assert.equal(
      error.headers.get('retry-after'), direct.headers.get('retry-after'),
    );
  });
}

await test('an error in a stream is thrown', async () => {
  const stream = await client.chat.completions.create(
    { ...hello, stream: true },
    { headers: { 'X-Sample-Chunks': '6', 'X-Sample-Stream-Error': '3' } },
  );

  await fails(
    (async () => { for await (const chunk of stream) { void chunk; } })(),
    OpenAI.APIError, {},
  );
});


await test('an abort in a stream reaches the provider', async () => {
  const before = (await stats()).client_aborts;
  const stream = await client.chat.completions.create(
    { ...hello, stream: true },
    { headers: { 'X-Sample-Chunks': '1000', 'X-Sample-Delay': '20' } },
  );

  for await (const chunk of stream) {
    void chunk;
    break;
  }

  await until(
    async () => (await stats()).client_aborts === before + 1, 'abort seen',
  );
});

await test('an abort before the answer reaches the provider', async () => {
  const before = await stats();
  const controller = new AbortController();
  const promise = client.chat.completions.create(hello, {
    headers: { 'X-Sample-Stall': '-1' }, signal: controller.signal,
  });

  await until(
    async () => (await stats()).requests > before.requests, 'request seen',
  );
  controller.abort();
  await fails(promise, OpenAI.APIUserAbortError, {});
  await until(
    async () => (await stats()).client_aborts === before.client_aborts + 1,
    'abort seen',
  );
});

await test('retries follow Retry-After', async () => {
  await forget();

  const start = Date.now();

  await fails(
    make(GATEWAY, 'dev-env', { maxRetries: 1 }).chat.completions.create(
      hello, { headers: { 'X-Sample-Status': '429' } },
    ),
    OpenAI.RateLimitError,
    { status: 429 },
  );

  const seen = await requests();

  assert.equal(seen.length, 2);
  assert.equal(seen[1].headers['x-stainless-retry-count'], '1');
  assert.ok(Date.now() - start >= 900, `${Date.now() - start} ms`);
});

await test('the same client works for many requests at once', async () => {
  const texts = await Promise.all(Array.from({ length: 50 }, async (_, i) => {
    const stream = await client.chat.completions.create(
      { ...hello, stream: true },
      { headers: { 'X-Sample-Text': `answer ${i} of many`,
                   'X-Sample-Chunks': '4', 'X-Sample-Delay': '5' } },
    );
    let text = '';

    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
    }

    return text;
  }));

  assert.deepEqual(
    texts, Array.from({ length: 50 }, (_, i) => `answer ${i} of many`),
  );
});

done();
