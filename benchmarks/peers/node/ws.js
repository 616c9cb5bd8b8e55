// The peer: the ws package with ioredis, as their documentation has it. No validation, no limits.
"use strict";

const Redis = require("ioredis");
const { WebSocket, WebSocketServer } = require("ws");

const PREFIX = "node_ws:room:";
const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const publisher = new Redis(process.env.REDIS_URL);
const subscriber = publisher.duplicate();
const rooms = new Map();

subscriber.on("pmessage", (pattern, channel, message) => {
  const members = rooms.get(channel.slice(PREFIX.length)) ?? [];
  for (const client of members) {
    if (client.readyState === WebSocket.OPEN) {
      client.send(message);
    }
  }
});

subscriber.psubscribe(PREFIX + "*").then(() => {
  const server = new WebSocketServer({ host: "127.0.0.1", port, backlog: 4096 });
  server.on("connection", (client, request) => {
    const room = request.url.slice(request.url.lastIndexOf("/") + 1);
    if (!rooms.has(room)) {
      rooms.set(room, new Set());
    }
    rooms.get(room).add(client);
    client.on("error", () => {});
    client.on("message", (data) => publisher.publish(PREFIX + room, data.toString()));
    client.on("close", () => rooms.get(room).delete(client));
  });
  server.on("listening", () => console.log(`Worker ready [${process.pid}]`));
});
