// Bun, whose server is uWebSockets: bun servers/bun.js echo|broadcast [--deflate]
const [work, deflate] = process.argv.slice(2);

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response('', { status: 400 })),
  websocket: {
    perMessageDeflate: deflate === '--deflate' && { compress: 'shared', decompress: 'shared' },
    maxPayloadLength: 64 << 20,
    backpressureLimit: 64 << 20,
    open(socket) {
      if (work === 'broadcast') socket.subscribe('all');
    },
    message(socket, data) {
      if (work === 'echo') socket.send(data, deflate === '--deflate');
      else server.publish('all', data);
    },
  },
});

console.log(`ws://127.0.0.1:${server.port}/`);
