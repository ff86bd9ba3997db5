/** What the doctor reads of `GET /api/v1/certificates/served`. */
export interface ServedAnswer {
  readonly items: readonly {
    readonly replica: string;
    readonly listener: string;
    readonly checkedAt: string;
    /** Undefined when all is well. */
    readonly problem?: string;
  }[];
}
