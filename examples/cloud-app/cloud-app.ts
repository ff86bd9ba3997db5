/**
 * A small cloud program: prints what edges say and when they come and go, and sends one message to a node and
 * says what became of it. It needs Node 24, and two ways lead to the same hub. Over HTTP, at any replica:
 *
 *     npx node examples/cloud-app/cloud-app.ts --secrets ./certs-dev --send edge-1 --content 23
 *
 * Over NATS, with `bus.kind: nats`:
 *
 *     npx node examples/cloud-app/cloud-app.ts --nats nats://127.0.0.1:4222 --send edge-1 --content 23
 *
 * Without `--send` it only listens; with `--once` it ends when the fate of its message is known. The NATS
 * half uses a plain client and the subjects of docs/protocol.md, and nothing of Sallyport: the same can be
 * written in any language.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { jetstream } from '@nats-io/jetstream';
import { connect, createInbox, headers } from '@nats-io/transport-node';

const { values } = parseArgs({
  options: {
    admin: { type: 'string', default: 'localhost:10010' },
    secrets: { type: 'string', default: './certs-dev' },
    nats: { type: 'string' },
    prefix: { type: 'string', default: 'sallyport' },
    send: { type: 'string' },
    resource: { type: 'string', default: 'default/thermostat/living-room' },
    operation: { type: 'string', default: 'update' },
    content: { type: 'string', default: 'null' },
    once: { type: 'boolean', default: false },
  },
});

const content: unknown = JSON.parse(values.content);
const { resource, operation, prefix } = values;

await (values.nats === undefined ? overHttp() : overNats(values.nats));

// — NATS —

async function overNats(server: string): Promise<void> {
  const nats = await connect({ servers: server, name: 'cloud-app' });
  // What passes from now on; a durable consumer on the stream `<prefix>-up` would miss nothing.
  nats.subscribe(`${prefix}.up.>`, {
    callback: (error, message) => {
      if (!error) show(nodeOf(message.subject), message.json<Said>());
    },
  });
  nats.subscribe(`${prefix}.presence.*`, {
    callback: (error, message) => {
      if (!error)
        console.log(`${nodeOf(message.subject)} ${message.json<{ event_type: string }>().event_type}`);
    },
  });
  if (values.send !== undefined) {
    const node = values.send;
    const id = randomUUID();
    const inbox = createInbox();
    const told = nats.subscribe(inbox, { max: 1 });
    const sent = headers();
    sent.set('Sallyport-Outcome-To', inbox);
    const message = {
      header: { msg_id: id, timestamp: Date.now() },
      route: { source: 'edgecontroller', group: 'resource', operation, resource },
      content,
    };
    // The id makes it safe to publish again when no confirmation comes.
    const { seq } = await jetstream(nats).publish(
      `${prefix}.down.${tokenOf(node)}`,
      JSON.stringify(message),
      {
        msgID: `${node}:${id}`,
        headers: sent,
      },
    );
    console.log(`stored for ${node} as ${seq}; it waits until the node is connected`);
    for await (const answer of told)
      console.log(`${node}: ${answer.json<{ outcome: { kind: string } }>().outcome.kind}`);
    if (values.once) await nats.drain();
  }
  await nats.closed();
}

/** A name as one token of a subject. */
function tokenOf(name: string): string {
  let token = '';
  for (const byte of Buffer.from(name)) {
    const char = String.fromCharCode(byte);
    token += /[A-Za-z0-9_-]/.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return token === '' ? '=' : token;
}

function nodeOf(subject: string): string {
  const token = subject.split('.')[2] ?? '';
  const bytes = token.replace(/=([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString();
}

// — HTTP —

async function overHttp(): Promise<void> {
  if (values.send !== undefined) {
    const body = { resource, operation, content, wait: 'ack', timeoutMs: 30_000 };
    const response = await call('POST', `/api/v1/nodes/${encodeURIComponent(values.send)}/messages`, body);
    const { kind, error } = JSON.parse(await textOf(response)) as {
      kind?: string;
      error?: { message: string };
    };
    console.log(`${values.send}: ${kind ?? error?.message}`);
    if (values.once) return;
  }
  const events = await call('GET', '/api/v1/events');
  let text = '';
  for await (const chunk of events.setEncoding('utf8')) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data === undefined) continue;
      const { type, node, message } = JSON.parse(data) as { type: string; node: string; message: Said };
      if (type === 'message') show(node, message);
      else console.log(`${node} ${type}`);
    }
  }
}

function call(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
  const file = (name: string) => readFileSync(join(values.secrets, name));
  const credentials = { cert: file('admin.crt'), key: file('admin.key'), ca: file('ca.crt') };
  return new Promise((resolve, reject) => {
    const sent = request(
      new URL(path, `https://${values.admin}`),
      { method, ...credentials, headers: body === undefined ? {} : { 'content-type': 'application/json' } },
      resolve,
    );
    sent.once('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return text;
}

interface Said {
  readonly route: { readonly operation?: string; readonly resource?: string };
  readonly content: unknown;
}

function show(node: string, { route, content: said }: Said): void {
  console.log(`${node} ${route.operation ?? ''} ${route.resource ?? ''} ${JSON.stringify(said)}`);
}
