/**
 * What we compare with: the same client library on the same nats-server and nothing around it. Started with
 * `fork`: `bare-nats.ts SERVER echo` answers every message of the stream; `bare-nats.ts SERVER send`
 * publishes `{count, width}` messages that it is told and tells the time each took, until JetStream has
 * confirmed it and the answer has come.
 */
import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, createInbox, headers } from '@nats-io/transport-node';

const [server, role] = process.argv.slice(2) as [string, 'echo' | 'send'];
const nats = await connect({ servers: server });
const js = jetstream(nats);
const STREAM = 'bare';
const payload = JSON.stringify({ content: 'x'.repeat(240) });

if (role === 'echo') {
  await (await jetstreamManager(nats)).streams.add({ name: STREAM, subjects: ['bare.>'] });
  const consumer = await js.consumers.get(STREAM, { deliver_policy: DeliverPolicy.New });
  const messages = await consumer.consume();
  void (async () => {
    for await (const message of messages) nats.publish(message.headers!.get('Answer-To'), 'OK');
  })();
} else {
  process.on('message', async ({ count, width }: { count: number; width: number }) => {
    const times: number[] = [];
    let next = 0;
    await Promise.all(
      Array.from({ length: width }, async () => {
        while (next++ < count) times.push(await sendOne());
      }),
    );
    process.send!(times);
  });
}
process.once('disconnect', () => process.exit(0));
process.send!('here');

async function sendOne(): Promise<number> {
  const began = performance.now();
  const inbox = createInbox();
  const answer = nats.subscribe(inbox, { max: 1 });
  const sent = headers();
  sent.set('Answer-To', inbox);
  await js.publish('bare.node-1', payload, { headers: sent, msgID: crypto.randomUUID() });
  for await (const _ of answer) break;
  return performance.now() - began;
}
