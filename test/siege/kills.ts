import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { percentile } from '../../bench/lib/process-usage.ts';
import type { CaRolloverStatus, RolloverStep } from '../../src/contracts/ca-rollover.ts';
import type { Revocation } from '../../src/contracts/revocations.ts';
import {
  type EdgeCoreCredentials,
  EdgeCoreSocket,
  goGet,
  joinAsEdgeCore,
} from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { BesiegedGateway } from './besieged-gateway.ts';

export interface KillReport {
  readonly deed: string;
  readonly kills: number;
  /** How many of them were done, as far as whoever asked was told. */
  readonly answered: number;
  /** From the start of the new process until a node was in, milliseconds. */
  readonly backP50: number;
  readonly backP99: number;
  readonly faults: readonly string[];
}

/** What somebody asked for, and what has to hold afterwards when he was told that it is done. */
interface Deed {
  readonly name: string;
  /** @returns how to see, on the next process, that it has been done */
  run(gateway: BesiegedGateway, random: () => number): Promise<(next: BesiegedGateway) => Promise<boolean>>;
}

const rotate: Deed = {
  name: 'rotate',
  async run(gateway) {
    await gateway.admin.post('/api/v1/certificates/hub/rotate');
    const { serialNumber } = await servedCertificate(gateway.port('websocket'));
    return async (next) => (await servedCertificate(next.port('websocket'))).serialNumber === serialNumber;
  },
};

const issue: Deed = {
  name: 'issue',
  async run(gateway) {
    const node = `issued-${randomUUID().slice(0, 8)}`;
    const credentials = await joinNode(gateway, node);
    return (next) => letsIn(next, node, credentials);
  },
};

const revoke: Deed = {
  name: 'revoke',
  async run(gateway) {
    const node = `revoked-${randomUUID().slice(0, 8)}`;
    await gateway.admin.post('/api/v1/revocations', { node, reason: 'keyCompromise' });
    return async (next) => {
      const { items } = await next.admin.get<{ items: Revocation[] }>('/api/v1/revocations');
      return items.some((one) => one.node === node);
    };
  },
};

const rollover: Deed = {
  name: 'rollover',
  async run(gateway, random) {
    const { next } = await gateway.admin.get<CaRolloverStatus>('/api/v1/ca/rollover');
    const { step } = next[Math.floor(random() * next.length)]!;
    const done = await gateway.admin.post<CaRolloverStatus>(`/api/v1/ca/rollover/${step}`, { force: true });
    return async (after) => {
      const { phase } = await after.admin.get<CaRolloverStatus>('/api/v1/ca/rollover');
      // What finishes by itself may have done so.
      return phase === done.phase || (phase === 'idle' && endsByItself(step));
    };
  },
};

const endsByItself = (step: RolloverStep) => step === 'retire' || step === 'revoke' || step === 'abort';

const DEEDS: readonly Deed[] = [rotate, issue, revoke, rollover];

export interface KillOptions {
  /** Of each of the deeds. */
  readonly kills: number;
  readonly random: () => number;
  readonly say?: (text: string) => void;
}

/**
 * `kill -9` at random moments of rotate, issue, revoke and rollover. After each the gateway starts again, is
 * ready, has what it said it had done, and lets a node join and connect.
 */
export async function runKills({ kills, random, say = () => {} }: KillOptions): Promise<KillReport[]> {
  const base = mkdtempSync(join(tmpdir(), 'sallyport-kills-'));
  const reports = DEEDS.map(({ name }) => ({
    name,
    answered: 0,
    back: [] as number[],
    faults: [] as string[],
  }));
  let gateway = await BesiegedGateway.start(base);
  try {
    const tookMs: number[] = [];
    for (const deed of DEEDS) {
      const start = performance.now();
      await deed.run(gateway, random);
      tookMs.push(performance.now() - start);
    }
    for (let round = 0; round < kills; round++) {
      for (const [index, deed] of DEEDS.entries()) {
        const report = reports[index]!;
        const doing = deed.run(gateway, random).catch(() => undefined);
        // Some are done by then, and some have hardly begun.
        await sleep(random() * 1.5 * tookMs[index]!);
        await gateway.kill();
        const holds = await doing;
        if (holds) report.answered++;
        const start = performance.now();
        gateway = await BesiegedGateway.start(base);
        const fault = await faultOf(gateway, holds);
        if (fault) report.faults.push(`${deed.name}, round ${round}: ${fault}`);
        report.back.push(performance.now() - start);
        say(`${deed.name} ${round}: killed ${holds ? 'after' : 'before'} its answer; ${fault ?? 'whole'}`);
      }
    }
  } finally {
    await gateway[Symbol.asyncDispose]();
    rmSync(base, { recursive: true, force: true });
  }
  return reports.map(({ name: deed, answered, back, faults }) => ({
    ...{ deed, kills: back.length, answered, faults },
    backP50: Math.round(percentile(back, 0.5)),
    backP99: Math.round(percentile(back, 0.99)),
  }));
}

async function faultOf(
  gateway: BesiegedGateway,
  holds: ((next: BesiegedGateway) => Promise<boolean>) | undefined,
): Promise<string | undefined> {
  try {
    const { status, body } = await goGet(gateway.port('https'), '/readyz');
    if (status !== 200) return `it is not ready: ${body}`;
    if (holds && !(await holds(gateway))) return 'what was said to be done is not';
    const node = `node-${randomUUID().slice(0, 8)}`;
    const credentials = await joinNode(gateway, node);
    return (await letsIn(gateway, node, credentials)) ? undefined : 'a node cannot connect';
  } catch (error) {
    return (error as Error).message;
  }
}

async function joinNode(gateway: BesiegedGateway, node: string): Promise<EdgeCoreCredentials> {
  const token = await gateway.nodeToken(node);
  const { answer, credentials } = await joinAsEdgeCore(gateway.port('https'), { node, token });
  if (answer.status !== 200) throw new Error(`a node cannot join: ${answer.status} ${answer.body}`);
  return credentials;
}

async function letsIn(
  gateway: BesiegedGateway,
  node: string,
  credentials: EdgeCoreCredentials,
): Promise<boolean> {
  try {
    const { socket } = await EdgeCoreSocket.open(gateway.port('websocket'), node, credentials);
    socket.terminate();
    return true;
  } catch {
    return false;
  }
}
