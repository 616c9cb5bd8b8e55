// The peer: Bun's server, which is uWebSockets with its native pub/sub, and Bun's own Redis client,
// as Bun's documentation has them. No validation, no limits.
import { RedisClient, serve } from "bun";

const PREFIX = "bun:room:";
const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const publisher = new RedisClient(process.env.REDIS_URL);
const subscriber = new RedisClient(process.env.REDIS_URL);
const subscribed = new Map(); // channel: a promise of its subscription

await publisher.connect();
await subscriber.connect();

const deliver = (message, channel) => server.publish(channel, message);

const subscribe = (channel) => {
  if (!subscribed.has(channel)) {
    subscribed.set(channel, subscriber.subscribe(channel, deliver));
  }
  return subscribed.get(channel);
};

const server = serve({
  hostname: "127.0.0.1",
  port,
  async fetch(request, server) {
    const room = request.url.slice(request.url.lastIndexOf("/") + 1);
    const channel = PREFIX + room;
    await subscribe(channel);
    if (!server.upgrade(request, { data: { channel } })) {
      return new Response("this is a WebSocket", { status: 426 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 120,
    open(client) {
      client.subscribe(client.data.channel);
    },
    message(client, message) {
      publisher.publish(client.data.channel, message);
    },
  },
});

console.log(`Worker ready [${process.pid}]`);
