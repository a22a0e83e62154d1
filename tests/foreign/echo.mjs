// npm `ws` against /echo and /raw.
//
//     node echo.mjs ws://HOST:PORT

import assert from 'node:assert/strict';
import { once } from 'node:events';
import WebSocket from 'ws';

const DEADLINE = 30_000;
const MAX_MESSAGE = 1 << 20;
const url = process.argv[2];

/** An open client whose messages wait in a queue. */
async function connect(endpoint, options = {}) {
  const client = new WebSocket(url + endpoint, { perMessageDeflate: false, ...options });
  const messages = [];
  let wake = () => {};
  client.on('message', (data, isBinary) => {
    messages.push(isBinary ? data : data.toString());
    wake();
  });
  client.next = async () => {
    while (messages.length === 0) await new Promise((resolve) => { wake = resolve; });
    return messages.shift();
  };
  await once(client, 'open');
  return client;
}

async function close(client, code, reason) {
  client.close(code, reason);
  const [answered, text] = await once(client, 'close');
  return [answered, text.toString()];
}

const checks = {
  async 'every message comes back as it was, from none to 1 MiB, text as text, binary as binary'() {
    const client = await connect('/echo');
    for (const message of [
      'Hello', 'Grüße, 世界, 👋', '', Buffer.alloc(0), Buffer.from([0, 255, 0xc3, 0x28]),
      'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(65_535), 'x'.repeat(65_536),
      'é'.repeat(MAX_MESSAGE / 2), Buffer.alloc(MAX_MESSAGE, 7),
    ]) {
      client.send(message);
      assert.deepEqual(await client.next(), message);
    }
    await close(client);
  },

  async 'a thousand messages sent without waiting come back in order'() {
    const client = await connect('/echo');
    for (let n = 0; n < 1_000; n++) client.send(`message ${n}`);
    for (let n = 0; n < 1_000; n++) assert.equal(await client.next(), `message ${n}`);
    await close(client);
  },

  async 'fragments come back as one message, also with a ping between them'() {
    const client = await connect('/echo');
    client.send('Hel', { fin: false });
    client.ping('in between');
    client.send('', { fin: false });
    client.send('lo', { fin: true });
    const [payload] = await once(client, 'pong');
    assert.equal(payload.toString(), 'in between');
    assert.equal(await client.next(), 'Hello');
    await close(client);
  },

  async 'in raw mode messages and pings come back, a close is completed'() {
    const client = await connect('/raw');
    client.send('Hel', { fin: false });
    client.send('lo', { fin: true });
    assert.equal(await client.next(), 'Hello');
    client.ping('raw');
    assert.equal((await once(client, 'pong'))[0].toString(), 'raw');
    assert.deepEqual(await close(client, 4001, 'enough'), [4001, 'enough']);
  },

  async 'a close is answered with its own code'() {
    for (const code of [1000, 1001, 1003, 1008, 1011, 1013, 3000, 4999]) {
      const client = await connect('/echo');
      assert.equal((await close(client, code, 'goodbye'))[0], code);
    }
    // One without a code is answered with 1000; in raw mode it comes back as it is, which `ws` calls 1005.
    assert.equal((await close(await connect('/echo')))[0], 1000);
    assert.equal((await close(await connect('/raw')))[0], 1005);
  },

  async 'a message of one byte too many is closed with 1009'() {
    for (const endpoint of ['/echo', '/raw']) {
      const client = await connect(endpoint);
      client.send(Buffer.alloc(MAX_MESSAGE + 1));
      assert.equal((await once(client, 'close'))[0], 1009);
    }
  },

  async 'a foreign page gets 403, an unknown path gets 404'() {
    for (const [path, origin, status] of [
      ['/echo', 'http://example.org', 403],
      ['/nowhere', undefined, 404],
    ]) {
      const client = new WebSocket(url + path, { origin });
      const response = await new Promise((resolve, reject) => {
        client.on('unexpected-response', (_request, response) => resolve(response));
        client.on('open', () => reject(new Error(`let in: ${path} from ${origin}`)));
      });
      assert.equal(response.statusCode, status);
      response.destroy();
    }
  },

  async 'three hundred connections at once, twenty messages each'() {
    await Promise.all(Array.from({ length: 300 }, async (_, name) => {
      const client = await connect('/echo');
      for (let n = 0; n < 20; n++) {
        client.send(`${n} from ${name}`);
        assert.equal(await client.next(), `${n} from ${name}`);
      }
      await close(client);
    }));
  },
};

for (const [name, check] of Object.entries(checks)) {
  const deadline = setTimeout(() => {
    console.log(`FAIL ws: ${name}\nnothing for ${DEADLINE / 1_000} s`);
    process.exit(1);
  }, DEADLINE);
  try {
    await check();
  } catch (error) {
    console.log(`FAIL ws: ${name}\n${error.stack}`);
    process.exit(1);
  }
  clearTimeout(deadline);
  console.log(`ok   ws: ${name}`);
}
