// npm `ws` against the example `compressed_echo`: every window, with takeover and without.
//
//     node compressed.mjs ws://HOST:PORT

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import WebSocket from 'ws';

const DEADLINE = 60_000;
const WINDOWS = [9, 10, 11, 12, 13, 14, 15];
const url = process.argv[2];

/** Texts that repeat themselves and each other, some noise, and the sizes that matter. */
function messages() {
  const words = 'the quick brown fox jumps over a lazy dog, and the fox said: grüße 世界 👋'.split(' ');
  const texts = Array.from({ length: 60 }, (_, n) => JSON.stringify({
    from: `user${n % 5}`,
    n,
    text: Array.from({ length: (n * 7) % 40 }, (_, k) => words[(n * 31 + k * k) % words.length]).join(' '),
  }));
  const far = randomBytes(40_000).toString('hex');
  return [
    ...texts, '', Buffer.alloc(0), randomBytes(20_000), 'x'.repeat(100_000), far + far,
    'Hello', 'Hello', 'Hello',
  ];
}

/** Has every message echoed; gives the server's answer to the offer. */
async function talk(path, offer) {
  const client = new WebSocket(url + path, { perMessageDeflate: { threshold: 0, ...offer } });
  const heard = [];
  client.on('message', (data, isBinary) => heard.push(isBinary ? data : data.toString()));
  await once(client, 'open');
  const said = messages();
  for (const message of said) client.send(message);
  client.send('frag', { fin: false });
  client.send('men', { fin: false });
  client.send('ts', { fin: true });
  while (heard.length <= said.length) await once(client, 'message');
  assert.deepEqual(heard, [...said, 'fragments']);
  const params = client._extensions['permessage-deflate'].params;
  client.close();
  assert.equal((await once(client, 'close'))[0], 1000);
  return { ...params };
}

const checks = {
  async 'every window that the server asks for, with takeover and without, is kept both ways'() {
    for (const bits of WINDOWS) {
      const window = bits < 15 ? { client_max_window_bits: bits } : {};
      assert.deepEqual(await talk(`/takeover/${bits}`, {}), window);
      assert.deepEqual(await talk(`/once/${bits}`, {}), {
        server_no_context_takeover: true, client_no_context_takeover: true, ...window,
      });
    }
  },

  async 'every window that the client asks for is kept both ways'() {
    for (const bits of WINDOWS) {
      const answer = await talk('/takeover/15', { serverMaxWindowBits: bits, clientMaxWindowBits: bits });
      assert.equal(answer.server_max_window_bits, bits);
      assert.equal(answer.client_max_window_bits ?? 15, bits);
    }
  },

  async 'a client that wants no takeover gets none, each way by itself'() {
    for (const serverNoContextTakeover of [false, true]) {
      for (const clientNoContextTakeover of [false, true]) {
        const answer = await talk('/takeover/12', { serverNoContextTakeover, clientNoContextTakeover });
        assert.equal(answer.server_no_context_takeover ?? false, serverNoContextTakeover);
        assert.equal(answer.client_no_context_takeover ?? false, clientNoContextTakeover);
      }
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  const deadline = setTimeout(() => {
    console.log(`FAIL ws, compressed: ${name}\nnothing for ${DEADLINE / 1_000} s`);
    process.exit(1);
  }, DEADLINE);
  try {
    await check();
  } catch (error) {
    console.log(`FAIL ws, compressed: ${name}\n${error.stack}`);
    process.exit(1);
  }
  clearTimeout(deadline);
  console.log(`ok   ws, compressed: ${name}`);
}
