// The peer: Socket.IO with its Redis adapter on ioredis, as its documentation has it.
"use strict";

const { createServer } = require("node:http");
const { createAdapter } = require("@socket.io/redis-adapter");
const Redis = require("ioredis");
const { Server } = require("socket.io");

const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const publisher = new Redis(process.env.REDIS_URL);
const server = createServer();
const io = new Server(server, { adapter: createAdapter(publisher, publisher.duplicate()) });

io.on("connection", (client) => {
  const { room } = client.handshake.query;
  client.join(room);
  client.on("message", (data) => io.to(room).emit("message", data));
});

server.listen({ host: "127.0.0.1", port, backlog: 4096 }, () => {
  console.log(`Worker ready [${process.pid}]`);
});
