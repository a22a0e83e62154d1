// `chinwag connect` against servers made with npm `ws`: plain, and with every window.
//
//     node served.mjs CHINWAG

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { WebSocketServer } from 'ws';

const DEADLINE = 60_000;
const WINDOWS = [9, 10, 11, 12, 13, 14, 15];
const chinwag = process.argv[2];

/** Texts that repeat themselves and each other, some noise, and what is far back. */
function lines() {
  const words = 'the quick brown fox jumps over a lazy dog, and the fox said: grüße 世界 👋'.split(' ');
  const texts = Array.from({ length: 100 }, (_, n) => JSON.stringify({
    from: `user${n % 5}`,
    n,
    text: Array.from({ length: (n * 7) % 40 }, (_, k) => words[(n * 31 + k * k) % words.length]).join(' '),
  }));
  const far = randomBytes(40_000).toString('hex');
  return [...texts, '', 'x'.repeat(100_000), far + far, 'Hello', 'Hello'];
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Has every line echoed; gives what was agreed on compression. */
async function talk(perMessageDeflate, ...options) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate });
  await once(server, 'listening');
  const closed = new Promise((resolve) => {
    server.on('connection', (client) => {
      client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }));
      client.on('close', (code) => resolve({ code, extensions: client._extensions }));
      client.on('error', (error) => resolve({ error }));
    });
  });
  const child = spawn(chinwag, ['connect', ...options, `ws://127.0.0.1:${server.address().port}/`]);
  const said = lines();
  child.stdin.end(said.map((line) => `${line}\n`).join(''));
  const [heard, told, [status]] = await Promise.all([
    all(child.stdout), all(child.stderr), once(child, 'exit'),
  ]);
  assert.deepEqual(heard.split('\n').slice(0, -1), said, told);
  assert.equal(status, 0, told);
  const { code, extensions, error } = await closed;
  server.close();
  assert.equal(error, undefined);
  assert.equal(code, 1000);
  return { ...extensions['permessage-deflate']?.params };
}

const checks = {
  async 'lines come back, and the connection is closed with 1000'() {
    assert.deepEqual(await talk(false), {});
    assert.deepEqual(await talk(false, '--compress'), {});
  },

  async 'every window that the server asks for is kept both ways, with takeover and without'() {
    for (const bits of WINDOWS) {
      for (const once of [false, true]) {
        const answer = await talk({
          threshold: 0, clientMaxWindowBits: bits, serverMaxWindowBits: bits,
          serverNoContextTakeover: once, clientNoContextTakeover: once,
        }, '--compress');
        assert.equal(answer.client_max_window_bits, bits);
        assert.equal(answer.server_max_window_bits, bits);
        assert.equal(answer.server_no_context_takeover ?? false, once);
        assert.equal(answer.client_no_context_takeover ?? false, once);
      }
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  const deadline = setTimeout(() => {
    console.log(`FAIL a server of ws: ${name}\nnothing for ${DEADLINE / 1_000} s`);
    process.exit(1);
  }, DEADLINE);
  try {
    await check();
  } catch (error) {
    console.log(`FAIL a server of ws: ${name}\n${error.stack}`);
    process.exit(1);
  }
  clearTimeout(deadline);
  console.log(`ok   a server of ws: ${name}`);
}
process.exit(0);
