// One member of the chat, by npm `ws`, for `chat.py` to lead: says each line of stdin, prints each
// message as a line of JSON, and the close code at the end.
//
//     node member.mjs ws://HOST:PORT/chat

import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const client = new WebSocket(process.argv[2]);
client.on('message', (data) => console.log(JSON.stringify(data.toString())));
client.on('close', (code) => console.log(code));
client.on('open', () => {
  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => client.send(JSON.parse(line)));
  input.on('close', () => client.close());
});
