// The official SDKs behind rules: a guardrail, a refusal, loops of tool calls.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { done, fails, forget, requests, test } from './tap.mjs';

const { OPENAI_URL, ANTHROPIC_URL } = process.env;

const openai = new OpenAI({
  apiKey: 'container-dev-env', baseURL: OPENAI_URL, maxRetries: 0,
});
const anthropic = new Anthropic({
  apiKey: 'container-dev-env', baseURL: ANTHROPIC_URL, maxRetries: 0,
});

const hello = [{ role: 'user', content: 'Hello' }];
const schema = {
  type: 'object', properties: { path: { type: 'string' } }, required: ['path'],
};


await test('a stream, with the rule in its prompt', async () => {
  await forget();

  const stream = await openai.chat.completions.create({
    model: 'gpt-4o', stream: true, messages: hello,
  });
  let text = '';

  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
  }

  assert.ok(text.length > 0);

  const [seen] = await requests();

  assert.deepEqual(JSON.parse(seen.body).messages,
    [{ role: 'system', content: 'GUARDED' }, ...hello]);
});

await test('responses', async () => {
  await forget();
  await openai.responses.create({
    model: 'gpt-4o', instructions: 'Be brief.', input: 'Hello',
  });

  const [seen] = await requests();

  assert.equal(JSON.parse(seen.body).instructions, 'Be brief.\n\nGUARDED');
});

await test('messages, with a cache mark that stays', async () => {
  await forget();

  const system = [{
    type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' },
  }];

  await anthropic.messages.create({
    model: 'claude-sonnet', max_tokens: 100, system, messages: hello,
  });

  const [seen] = await requests();

  assert.deepEqual(JSON.parse(seen.body).system,
    [...system, { type: 'text', text: 'GUARDED' }]);
});

await test('count_tokens counts the rule too', async () => {
  await forget();
  await anthropic.messages.countTokens({
    model: 'claude-sonnet', messages: hello,
  });

  const [seen] = await requests();

  assert.equal(JSON.parse(seen.body).system, 'GUARDED');
});

await test('a refusal is a PermissionDeniedError of OpenAI', async () => {
  await forget();

  const error = await fails(openai.chat.completions.create({
    model: 'forbidden-1', messages: hello,
  }), OpenAI.PermissionDeniedError, {
    status: 403, code: 'blocked_by_rule', type: 'permission_error',
  });

  assert.match(error.message, /Not forbidden-1\./);
  assert.equal((await requests()).length, 0);
});

await test('and of Anthropic', async () => {
  const error = await fails(anthropic.messages.create({
    model: 'forbidden-2', max_tokens: 10, messages: hello,
  }), Anthropic.PermissionDeniedError, { status: 403 });

  assert.equal(error.error.error.type, 'permission_error');
  assert.equal(error.error.error.message, 'Not forbidden-2.');
});

await test('a loop of tool calls, chat completions', async () => {
  const messages = [{ role: 'user', content: 'Please use the tool.' }];
  const tools = [{
    type: 'function', function: { name: 'read', parameters: schema },
  }];

  for (const path of ['/etc/hosts', '/srv/a b.txt']) {
    const answer = await openai.chat.completions.create({
      model: 'gpt-4o', messages, tools, tool_choice: 'required',
    }, { headers: { 'X-Sample-Tool-Arguments': JSON.stringify({ path }),
                    'X-Sample-Tool': 'read' } });
    const { message } = answer.choices[0];

    assert.equal(message.tool_calls[0].function.name, 'read');
    messages.push(message, {
      role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'words',
    });
  }

  // the last result, asked about twice as a client that tries again does
  for (let i = 0; i < 2; i++) {
    await openai.chat.completions.create({
      model: 'gpt-4o', messages, tools, tool_choice: 'none',
    });
  }
});

await test('a loop of tool calls, messages', async () => {
  const messages = [{ role: 'user', content: 'Please use the tool.' }];
  const tools = [{ name: 'read', input_schema: schema }];
  const common = { model: 'claude-sonnet', max_tokens: 100, tools };

  const stream = anthropic.messages.stream({ ...common, messages }, {
    headers: {
      'X-Sample-Tool': 'read',
      'X-Sample-Tool-Arguments': JSON.stringify({ path: '/etc/passwd' }),
    },
  });
  const answer = await stream.finalMessage();
  const call = answer.content.find((block) => block.type === 'tool_use');

  messages.push({ role: 'assistant', content: answer.content }, {
    role: 'user',
    content: [{ type: 'tool_result', tool_use_id: call.id, content: 'words' }],
  });

  await anthropic.messages.create({
    ...common, messages, tool_choice: { type: 'none' },
  });
});

await test("a provider's error passes unchanged", async () => {
  await fails(openai.chat.completions.create({
    model: 'gpt-4o', messages: hello,
  }, { headers: { 'X-Sample-Status': '500' } }), OpenAI.InternalServerError,
  { status: 500 });
});

await test('a stream that breaks off', async () => {
  const stream = await openai.chat.completions.create({
    model: 'gpt-4o', stream: true, messages: hello,
  }, { headers: { 'X-Sample-Abort': '2', 'X-Sample-Size': '1000' } });

  await assert.rejects(async () => {
    for await (const chunk of stream) {
      assert.ok(chunk);
    }
  });
});

done();
