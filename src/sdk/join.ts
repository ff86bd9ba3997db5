import { timingSafeEqual } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { isSallyportError, SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { CredentialStore } from './credential-store.ts';
import { casOf, sha256Of, validityOf } from './credentials.ts';
import { type EnrolOptions, type JoinPatience, joinFleet, parseJoinToken } from './enrolment.ts';
import type { EdgeCredentials } from './transports/transport.ts';

export interface JoinComponents {
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface LoadOrJoinOptions extends EnrolOptions, JoinPatience {
  readonly node: string;
  readonly token?: string;
}

/**
 * What the folder holds, as long as it is usable and of the fleet that the token names: a program may be
 * started with the same token every time, though a token works once. Else joins with the token and stores
 * what it got.
 * @throws NOT_JOINED when there is neither; NODE_FOLDER_UNUSABLE; TOKEN_INVALID, CA_MISMATCH, JOIN_REFUSED
 */
export async function loadOrJoin(
  { store, clock, logger }: JoinComponents,
  { node, token, ...options }: LoadOrJoinOptions,
): Promise<EdgeCredentials> {
  if (token === undefined) {
    const stored = await store.load(node);
    if (stored) return stored;
    throw new SallyportError('NOT_JOINED', { node, directory: store.directory, problem: 'nothing is there' });
  }
  const { caSha256 } = parseJoinToken(token);
  const stored = await store.load(node).catch((err: unknown) => {
    if (!isSallyportError(err, 'NOT_JOINED')) throw err;
    logger.warn({ err, node }, 'the stored certificate is of no use; joining again');
    return undefined;
  });
  if (stored && isOfFleet(stored, caSha256) && clock.now() < validityOf(stored).notAfter) return stored;

  const takeBack = await store.prepare();
  const joined = await joinFleet(node, token, { ...options, clock }).catch(async (error: unknown) => {
    await takeBack();
    throw error;
  });
  await store.save(joined);
  logger.info({ node, hub: options.address }, 'joined');
  return joined;
}

function isOfFleet(credentials: EdgeCredentials, caSha256: Buffer): boolean {
  return casOf(credentials).some((ca) => timingSafeEqual(Buffer.from(sha256Of(ca), 'hex'), caSha256));
}
