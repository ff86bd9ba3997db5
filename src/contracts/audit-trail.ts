/** What is kept about one thing that was done, asked for or refused. Holds no key, no token and no Secret. */
export interface AuditEntry {
  /** In the past tense: `revoked`, `certificate-refused`. */
  readonly action: string;
  /** The administrator's or the node's name; `gateway` for what it does by itself. */
  readonly who: string;
  /** One sentence. */
  readonly what?: string | undefined;
  readonly why?: string | undefined;
  /** Address of whoever asked. */
  readonly from?: string | undefined;
  /** The node it is about. */
  readonly node?: string | undefined;
  readonly facts?: AuditFacts | undefined;
}

export type AuditFacts = Readonly<Record<string, AuditFact | readonly string[] | undefined>>;
type AuditFact = string | number | boolean;

/** Where everything is recorded that an auditor asks about later. */
export interface AuditTrail {
  /**
   * Never throws. The line is with the operating system when this returns.
   * @returns false when it could not be written; it is counted then
   */
  record(entry: AuditEntry): boolean;
  /** Why the latest line could not be written; undefined when it was. */
  problem(): string | undefined;
}
