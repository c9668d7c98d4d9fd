// What the SDK tests share: TAP on standard output, one line per test, and a
// look into the sample provider.

import assert from 'node:assert/strict';

let count = 0;

export async function test(name, body) {
  count++;

  try {
    await body();
    console.log(`ok ${count} - ${name}`);
  } catch (error) {
    console.log(`not ok ${count} - ${name}`);
    console.log(String(error?.stack ?? error).replace(/^/gm, '# '));
  }
}

export function done() {
  console.log(`1..${count}`);
}

async function look(what, method = 'GET') {
  const answer = await fetch(`${process.env.PROVIDER}/_sample/${what}`, {
    method,
  });

  return answer.json().catch(() => null);
}

export const stats = () => look('stats');
export const requests = async () => (await look('requests')).requests;
export const forget = () => look('requests', 'DELETE');

export async function until(condition, name) {
  const end = Date.now() + 5000;

  while (Date.now() < end) {
    if (await condition()) {
      return;
    }

    await new Promise((resolve) => setTimeout(resolve, 10));
  }

  assert.fail(`never happened: ${name}`);
}

export async function fails(promise, type, expected) {
  let error;

  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }

  assert.ok(error, 'it did not fail');
  assert.ok(error instanceof type, `${error.constructor.name}: ${error}`);

  for (const [name, value] of Object.entries(expected)) {
    assert.deepEqual(error[name], value, name);
  }

  return error;
}
