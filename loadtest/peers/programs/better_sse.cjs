// A service around better-sse, as its documentation advises for speed (see ../better_sse.py).
//
// With DATABASE_URL it listens to CHANNEL, where a trigger sends each row as JSON, and a stream begins with a query for
// its user's rows. It prints its port when it can be asked; a line `USER JSON` of its input is one change.

const { createServer } = require("node:http");
const { createInterface } = require("node:readline");
const { createChannel, createEventBuffer, createSession } = require("better-sse");
const { Client, Pool } = require("pg");

const ROWS = "SELECT row_to_json(job)::text AS job FROM bulk_enrichment_jobs AS job WHERE user_id = $1";

const channels = new Map();
const dsn = process.env.DATABASE_URL;
const pool = dsn && new Pool({ connectionString: dsn });

// JSON is text already, and has no line breaks.
const options = { serializer: (text) => text, sanitizer: (text) => text };

const channelOf = (user) => {
    if (!channels.has(user)) {
        const channel = createChannel();
        channel.on("session-deregistered", () => channel.sessionCount || channels.delete(user));
        channels.set(user, channel);
    }
    return channels.get(user);
};

const send = (user, job) => {
    const channel = channels.get(user);
    if (channel === undefined) return;
    const event = createEventBuffer(options).event("job").data(job).dispatch();
    for (const session of channel.activeSessions) session.batch(event);
};

const serve = async (request, response) => {
    const user = new URL(request.url, "http://localhost").searchParams.get("user");
    const session = await createSession(request, response, options);
    channelOf(user).register(session);
    const rows = pool ? (await pool.query(ROWS, [user])).rows : [];
    if (session.isConnected) session.push(`[${rows.map((row) => row.job)}]`, "snapshot");
};

const listen = async () => {
    const client = new Client({ connectionString: dsn });
    await client.connect();
    client.on("notification", ({ payload }) => send(JSON.parse(payload).user_id, payload));
    await client.query(`LISTEN ${process.env.CHANNEL}`);
};

const main = async () => {
    if (dsn) await listen();
    const server = createServer(serve);
    server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(server.address().port));
    createInterface({ input: process.stdin }).on("line", (line) => {
        const space = line.indexOf(" ");
        send(line.slice(0, space), line.slice(space + 1));
    });
};

main();
