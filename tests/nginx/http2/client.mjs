// HTTP/2 requests of every kind over one session, with node's own client.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http2 from 'node:http2';
import { done, forget, requests, stats, test, until } from '../sdk/tap.mjs';

const { GATEWAY, CA_FILE } = process.env;
const { readFileSync } = await import('node:fs');

const session = http2.connect(GATEWAY, {
  ca: CA_FILE ? readFileSync(CA_FILE) : undefined,
});

session.on('error', () => {});

// one stream that is not read must not use up the window of the others
session.on('connect', () => session.setLocalWindowSize(1 << 20));

const hello = JSON.stringify({
  model: 'gpt-4o',
  messages: [{ role: 'user', content: 'Hello' }],
});
const streamed = JSON.stringify({ ...JSON.parse(hello), stream: true });
const sha = (data) => createHash('sha256').update(data).digest('hex');

function open(headers = {}, options = {}) {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/v1/chat/completions',
    'authorization': 'Bearer container-dev-env',
    'content-type': 'application/json',
    ...headers,
  }, options);

  stream.on('error', () => {});

  return stream;
}

function answer(stream) {
  return new Promise((resolve) => {
    const result = { body: '', headers: {}, code: undefined };

    stream.setEncoding('utf8');
    stream.on('response', (headers) => { result.headers = headers; });
    stream.on('data', (data) => { result.body += data; });
    stream.on('close', () => {
      result.status = result.headers[':status'];
      result.code = stream.rstCode;
      resolve(result);
    });
  });
}

async function ask(body, headers = {}) {
  const stream = open(headers);

  stream.end(body);

  return answer(stream);
}


await test('chat', async () => {
  await forget();

  const { status, body, headers, code } = await ask(hello);
  const [seen] = await requests();

  assert.equal(status, 200);
  assert.equal(code, 0);
  assert.ok(JSON.parse(body).choices);
  assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
  assert.equal(seen.headers.authorization, `Bearer ${process.env.OPENAI_KEY}`);
  assert.equal(seen.body, hello);
});

await test('a stream comes as it is made', async () => {
  const stream = open({ 'x-sample-chunks': '8', 'x-sample-delay': '100' });
  const times = [];

  stream.on('data', () => times.push(Date.now()));
  stream.end(streamed);

  const { body, code } = await answer(stream);

  assert.equal(code, 0);
  assert.match(body, /\[DONE\]\n\n$/);

  // 700 ms from the first to the last; some of them may come together
  assert.ok(times.at(-1) - times[0] >= 300, `${times}`);
  assert.ok(times.length >= 3, `${times}`);
});

await test('100 streams at once, each with its own answer', async () => {
  const start = Date.now();
  const all = await Promise.all(Array.from({ length: 100 }, (_, i) =>
    ask(streamed, { 'x-sample-text': `number ${i} of all`,
                    'x-sample-chunks': '4', 'x-sample-delay': '100' })));

  all.forEach(({ status, body, code }, i) => {
    const text = [...body.matchAll(/"content":"([^"]*)"/g)]
      .map((match) => match[1]).join('');

    assert.equal(status, 200);
    assert.equal(code, 0);
    assert.equal(text, `number ${i} of all`);
  });

  // one after the other it were 30 seconds
  assert.ok(Date.now() - start < 10000);
});

for (const size of [1, 65535, 300000, 5000000, 30000000]) {
  for (const kind of ['with', 'without']) {
    await test(`${size} bytes ${kind} content-length`, async () => {
      await forget();

      const body = Buffer.from(JSON.stringify({
        model: 'gpt-4o', messages: [], filler: 'x'.repeat(size),
      }));
      const { status } = await ask(
        body, kind === 'with' ? { 'content-length': body.length } : {},
      );
      const [seen] = await requests();

      assert.equal(status, 200);
      assert.equal(seen.body_length, body.length);
      assert.equal(seen.body_sha256, sha(body));
      assert.equal(seen.headers['content-length'], `${body.length}`);
      assert.equal(seen.headers['transfer-encoding'], undefined);
    });
  }
}

await test('a body in many small frames', async () => {
  await forget();

  const stream = open();

  for (const byte of hello) {
    stream.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }

  stream.end();
  assert.equal((await answer(stream)).status, 200);
  assert.equal((await requests())[0].body, hello);
});

await test('large answers, some of them read slowly', async () => {
  const slow = open({ 'x-sample-size': '5000000',
                      'x-sample-chunk-size': '10000' });

  slow.end(streamed);
  slow.pause();

  const others = await Promise.all(Array.from({ length: 20 }, () =>
    ask(streamed, { 'x-sample-size': '200000' })));

  for (const { body, code } of others) {
    assert.equal(code, 0);
    assert.match(body, /\[DONE\]\n\n$/);
  }

  const rest = answer(slow);

  slow.resume();

  const { body } = await rest;

  assert.match(body, /\[DONE\]\n\n$/);
  assert.ok(body.length > 5000000);
});

await test('a reset in a stream reaches the provider', async () => {
  const before = (await stats()).client_aborts;
  const stream = open({ 'x-sample-chunks': '1000', 'x-sample-delay': '20' });

  stream.end(streamed);
  await new Promise((resolve) => stream.once('data', resolve));
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await until(
    async () => (await stats()).client_aborts === before + 1, 'abort seen',
  );
});

await test('a reset before the answer reaches the provider', async () => {
  const before = await stats();
  const stream = open({ 'x-sample-stall': '-1' });

  stream.end(hello);
  await until(
    async () => (await stats()).requests > before.requests, 'request seen',
  );
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await until(
    async () => (await stats()).client_aborts === before.client_aborts + 1,
    'abort seen',
  );
});

await test('a reset in the body reaches nobody', async () => {
  await forget();

  const stream = open();

  stream.write(hello.slice(0, 20));
  await new Promise((resolve) => setTimeout(resolve, 50));
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(await requests(), []);
});

await test('refusals', async () => {
  await forget();

  for (const [headers, body, status, code] of [
    [{ authorization: 'Bearer container-nobody' }, hello, 401,
      'invalid_identity'],
    [{ authorization: '' }, hello, 401, 'invalid_identity'],
    [{ 'x-api-key': 'container-other' }, hello, 401, 'invalid_identity'],
    [{ ':path': '/v1/chat/other' }, hello, 404, 'unknown_route'],
    [{ ':path': '/v1/chat/completions/../../files' }, hello, 404, null],
    [{ ':method': 'PUT' }, hello, 404, 'unknown_route'],
    [{}, '', 400, 'invalid_body'],
    [{}, '{"model":"a","model":"b"}', 400, 'invalid_body'],
    [{}, `${hello}x`, 400, 'invalid_body'],
    [{ 'content-encoding': 'gzip' }, hello, 415, 'unsupported_encoding'],
    [{ ':path': '/small/v1/chat/completions' },
      JSON.stringify({ model: 'a', filler: 'x'.repeat(5000) }), 413,
      'body_too_large'],
  ]) {
    const seen = await ask(body, headers);

    if (code === null) {
      assert.ok([400, 403, 404].includes(seen.status), `${seen.status}`);
    } else {
      assert.equal(seen.status, status, JSON.stringify(headers));
      assert.equal(JSON.parse(seen.body).error.code, code);
    }

    assert.match(seen.headers['x-request-id'], /^[0-9a-f]{32}$/);
  }

  assert.deepEqual(await requests(), []);
});

await test('the session is still good', async () => {
  assert.equal((await ask(hello)).status, 200);
  assert.equal(session.destroyed, false);
});

session.close();
done();
