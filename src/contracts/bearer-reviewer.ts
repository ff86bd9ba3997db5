/** Says whether the owner of a bearer token may do something at the admin interface. */
export interface BearerReviewer {
  /** Never throws: whatever goes wrong is a refusal. */
  review(token: string, wish: AccessWish, options?: ReviewOptions): Promise<BearerVerdict>;
}

export interface ReviewOptions {
  /**
   * Whoever was let in the last time that anybody could be asked is let in while nobody can, at most until
   * the token ends. Only for what changes nothing and is needed most in an outage.
   */
  readonly relyOnLast?: boolean;
}

/** A request in the words of Kubernetes RBAC for non-resource URLs. */
export interface AccessWish {
  readonly path: string;
  /** HTTP method in lower case. */
  readonly verb: string;
}

export type BearerVerdict =
  | { readonly ok: true; readonly name: string }
  /**
   * `unknown`: the token is nobody's. `forbidden`: its owner may not do this. `unavailable`: nobody could be
   * asked.
   */
  | { readonly ok: false; readonly why: 'unknown' | 'forbidden' | 'unavailable'; readonly detail: string };
