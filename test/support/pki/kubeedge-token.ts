import { createHmac } from 'node:crypto';
import type { Pair } from './pki.ts';

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/**
 * An enrolment token as CloudCore mints it: HS256 with the raw SEC1 bytes of the CA key, and `exp` alone.
 * @param expiresAt milliseconds
 */
export function kubeEdgeToken(ca: Pair, expiresAt: number): string {
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp: Math.floor(expiresAt / 1000) })}`;
  const key = ca.privateKey.export({ type: 'sec1', format: 'der' });
  return `${ca.sha256}.${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}
