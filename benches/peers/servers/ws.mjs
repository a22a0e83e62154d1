// npm ws: node servers/ws.mjs echo|broadcast [--deflate]
import { WebSocket, WebSocketServer } from 'ws';

const [work, deflate] = process.argv.slice(2);
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  backlog: 4096,
  perMessageDeflate: deflate === '--deflate' && {
    threshold: 0, // otherwise nothing below 1 KiB is compressed
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    zlibDeflateOptions: { level: 6 },
  },
});

server.on('listening', () => console.log(`ws://127.0.0.1:${server.address().port}/`));
server.on('connection', (socket) => {
  socket.on('error', () => {});
  if (work === 'echo') {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  } else {
    socket.on('message', (data, binary) => {
      for (const member of server.clients) {
        if (member.readyState === WebSocket.OPEN) member.send(data, { binary });
      }
    });
  }
});
