/** What is known about the last backup. It never holds what was backed up. */
export interface BackupStatus {
  /** Secret in which `sallyport backup create` leaves its record. */
  readonly secret: string;
  /** Undefined when no backup was ever recorded, or when the record cannot be read. */
  readonly last?: BackupRecord;
  /** True when the CA in use is in the last backup. */
  readonly coversCa: boolean;
  /** Why the record cannot be read. */
  readonly problem?: string;
}

export interface BackupRecord {
  /** ISO 8601. */
  readonly at: string;
  /** SHA-256 of the CA certificates whose keys are in it, lower-case hexadecimal. */
  readonly caSha256: readonly string[];
  /** Version of the list of revocations in the backup; 0 when it has none. */
  readonly revocationVersion: number;
}

export interface BackupWatcher {
  /** Reads the record anew. Never throws. */
  status(signal?: AbortSignal): Promise<BackupStatus>;
}
