/**
 * Every measurement, side by side with a bare server in the same run: ratios and CPU per operation, because
 * absolute times say little on a shared machine. `npm run bench`, or one of them: `npm run bench --
 * messages`.
 */
import { benchCli } from './cli.ts';
import { benchKube } from './kube.ts';
import { benchLoss } from './loss.ts';
import { benchNats } from './nats.ts';
import { benchConnects, benchIdle, benchMessages } from './peers.ts';
import { benchQuic } from './quic.ts';
import { benchQuicRotations } from './quic-rotations.ts';
import { benchReconnect } from './reconnect.ts';
import { benchRelay, benchRelaySessions } from './relay.ts';
import { benchSwap } from './swap.ts';

const benches: Readonly<Record<string, () => Promise<void>>> = {
  connects: benchConnects,
  messages: benchMessages,
  idle: benchIdle,
  swap: benchSwap,
  cli: benchCli,
  kube: benchKube,
  quic: benchQuic,
  'quic-rotations': benchQuicRotations,
  loss: benchLoss,
  relay: benchRelay,
  'relay-sessions': benchRelaySessions,
  nats: benchNats,
  reconnect: benchReconnect,
};
/** What is compared with the same in Go. */
const peers = ['connects', 'messages', 'idle'];
const wanted = process.argv.slice(2).flatMap((name) => (name === 'peers' ? peers : [name]));
for (const [name, run] of Object.entries(benches)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
process.exit(0);
