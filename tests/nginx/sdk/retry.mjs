// The gateway cannot check access while this starts; both SDKs come back
// after the time that it names and are then served.

import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { done, test } from './tap.mjs';

const { OPENAI_DOWN, ANTHROPIC_DOWN } = process.env;
const messages = [{ role: 'user', content: 'Hello' }];
const options = { apiKey: 'container-dev-env', maxRetries: 10 };

const openai = new OpenAI({ ...options, baseURL: OPENAI_DOWN })
  .chat.completions.create({ model: 'gpt-4o', messages });
const anthropic = new Anthropic({
  ...options, baseURL: ANTHROPIC_DOWN.replace(/\/v1$/, ''),
}).messages.create({ model: 'claude-sonnet-4', max_tokens: 100, messages });

await test('openai comes back and is served', async () => {
  assert.ok((await openai).choices[0].message.content);
});

await test('anthropic comes back and is served', async () => {
  assert.ok((await anthropic).content[0].text);
});

done();
