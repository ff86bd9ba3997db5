import type { BackupStatus, BackupWatcher } from '../contracts/backups.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { readBackupRecord } from './backup-record.ts';

export interface BackupMonitorComponents {
  readonly store: Pick<SecretStore, 'get'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'lastBackup' | 'lastBackupCoversCa'>;
  /** SHA-256 of the CA in use. */
  readonly caSha256: () => string;
}

/** Backups are days apart, so nobody needs to know sooner, milliseconds. */
const PERIOD_MS = 10 * 60_000;

/**
 * Knows when the last backup was, so that metric, alert and doctor can say that it is too long ago. Decides
 * nothing.
 */
export class BackupMonitor implements BackupWatcher, Component {
  readonly name = 'backup monitor';
  readonly #components: BackupMonitorComponents;
  readonly #secret: string;
  #timer: Timer | undefined;

  /** @param secret `certificates.backupSecret` */
  constructor(components: BackupMonitorComponents, { secret }: { secret: string }) {
    this.#components = components;
    this.#secret = secret;
  }

  async start(): Promise<void> {
    this.#timer = this.#components.clock.setInterval(() => void this.status(), PERIOD_MS);
    void this.status();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
  }

  async status(signal?: AbortSignal): Promise<BackupStatus> {
    const { store, log, metrics, caSha256 } = this.#components;
    const secret = this.#secret;
    try {
      const last = await readBackupRecord(store, secret, signal);
      const coversCa = last?.caSha256.includes(caSha256()) ?? false;
      metrics.lastBackup.set(last ? Date.parse(last.at) / 1000 : 0);
      metrics.lastBackupCoversCa.set(coversCa ? 1 : 0);
      return { secret, ...(last ? { last } : {}), coversCa };
    } catch (error) {
      const problem = describeError(error);
      log.debug({ secret, problem }, 'cannot tell when the last backup was');
      return { secret, coversCa: false, problem };
    }
  }
}
