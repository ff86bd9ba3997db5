/**
 * Two network namespaces joined by a link that loses frames, delays and has a rate, for TCP and QUIC alike: a
 * VXLAN whose frames pass through this process. Needs Linux with VXLAN, iproute2, and `unshare` (as root, or
 * where users may have namespaces); the kernel's netem is not needed.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';

export interface LinkOptions {
  /** Part of the frames lost each way, 0 to 1. */
  readonly loss: number;
  /** One way, milliseconds. */
  readonly delayMs: number;
  readonly megabitsPerSecond: number;
  /** Longest queue before the link; what comes when it is full is dropped. */
  readonly queueMs: number;
}

const VXLAN_PORT = 4789;
/** Room for the VXLAN header around frames of 1500 bytes. */
const OUTER_MTU = 1600;

export const HUB_ADDRESS = '10.99.0.1';
const EDGE_ADDRESS = '10.99.0.2';

/** Why this machine does not let us have such a link, in one line; undefined when it does. */
export function whyNoLink(): string | undefined {
  return whyNot('ip link add probe type vxlan id 1 remote 10.0.0.1 dstport 4789');
}

/** Why this machine does not let us have a network namespace; undefined when it does. */
export function whyNoNamespace(): string | undefined {
  return whyNot('ip link set lo up');
}

function whyNot(command: string): string | undefined {
  try {
    execFileSync('unshare', ['--map-root-user', '--net', 'sh', '-c', command], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    const { stderr, message } = error as { stderr?: Buffer; message: string };
    return (stderr?.toString().trim() || message).split('\n')[0];
  }
}

/** Runs a script in a network namespace of its own, with a channel for messages. */
export function forkInNamespace(script: string, args: readonly string[], unshare: readonly string[]) {
  return fork(script, args, {
    execPath: 'unshare',
    execArgv: [...unshare, process.execPath],
  });
}

/**
 * To be called in a namespace of its own (`forkInNamespace` with `--map-root-user --net`). The scripts say
 * 'here' when they have started.
 */
export async function joinByLink(script: string, options: LinkOptions) {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const ends = await Promise.all([
    end(script, { role: 'hub', subnet: '10.98.1', address: HUB_ADDRESS }),
    end(script, { role: 'edge', subnet: '10.98.2', address: EDGE_ADDRESS }),
  ]);
  const [hub, edge] = ends as [End, End];
  forward(hub.socket, edge, options);
  forward(edge.socket, hub, options);
  return { hub: hub.child, edge: edge.child };
}

interface End {
  readonly child: ChildProcess;
  readonly socket: Socket;
  readonly outer: string;
}

async function end(script: string, at: { role: string; subnet: string; address: string }): Promise<End> {
  const child = forkInNamespace(script, [at.role], ['--net']);
  await once(child, 'message');
  const ours = `${at.subnet}.1`;
  const outer = `${at.subnet}.2`;
  const ip = (line: string) => execFileSync('ip', line.split(' '));
  const inside = (line: string) =>
    execFileSync('nsenter', ['-t', String(child.pid), '-n', 'ip', ...line.split(' ')]);
  ip(`link add ${at.role} mtu ${OUTER_MTU} type veth peer name outer mtu ${OUTER_MTU} netns ${child.pid}`);
  ip(`addr add ${ours}/24 dev ${at.role}`);
  ip(`link set ${at.role} up`);
  inside('link set lo up');
  inside(`addr add ${outer}/24 dev outer`);
  inside('link set outer up');
  inside(
    `link add link0 mtu 1500 type vxlan id 7 local ${outer} remote ${ours} dstport ${VXLAN_PORT} remcsumtx remcsumrx`,
  );
  // One frame, one datagram: what is lost is one packet, never a batch of them.
  inside('link set link0 gso_max_segs 1');
  inside(`addr add ${at.address}/24 dev link0`);
  inside('link set link0 up');
  const socket = createSocket({
    type: 'udp4',
    recvBufferSize: 8 * 1024 * 1024,
    sendBufferSize: 8 * 1024 * 1024,
  });
  await new Promise<void>((resolve) => socket.bind(VXLAN_PORT, ours, resolve));
  return { child, socket, outer };
}

/** A queue with a rate, then a delay; frames keep their order. */
function forward(from: Socket, to: End, { loss, delayMs, megabitsPerSecond, queueMs }: LinkOptions): void {
  const line: { frame: Buffer; at: number }[] = [];
  let free = 0;
  let isPumping = false;
  const pump = () => {
    const now = performance.now();
    while (line.length > 0 && line[0]!.at <= now)
      to.socket.send(line.shift()!.frame, VXLAN_PORT, to.outer, () => {});
    isPumping = line.length > 0;
    if (isPumping) setTimeout(pump, 1);
  };
  from.on('message', (frame) => {
    const now = performance.now();
    if (Math.random() < loss || free - now > queueMs) return;
    free = Math.max(free, now) + (frame.length * 8) / (megabitsPerSecond * 1000);
    line.push({ frame, at: free + delayMs });
    if (!isPumping) {
      isPumping = true;
      setTimeout(pump, 1);
    }
  });
}
