export interface KubeUser {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
}

/** A rule of a ClusterRole on non-resource URLs, bound to a user. A URL may end in `*`. */
export interface AccessGrant {
  readonly username: string;
  readonly nonResourceURLs: readonly string[];
  readonly verbs: readonly string[];
}

interface Review {
  readonly spec: {
    readonly token?: string;
    readonly user?: string;
    readonly nonResourceAttributes?: { readonly path: string; readonly verb: string };
  };
}

/** The parts of an API server that say whose a token is and what its owner may do. */
export class KubeReviews {
  readonly users = new Map<string, KubeUser>();
  grants: AccessGrant[] = [];

  answer(resource: string, review: Review): unknown {
    const { token, user, nonResourceAttributes: wish } = review.spec;
    if (resource === 'tokenreviews') {
      const found = this.users.get(token ?? '');
      return {
        ...review,
        status: found
          ? { authenticated: true, user: found, audiences: ['https://kubernetes.default.svc'] }
          : { error: '[invalid bearer token, token lookup failed]' },
      };
    }
    const covers = (pattern: string, path: string) =>
      pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
    const allowed = this.grants.some(
      ({ username, nonResourceURLs, verbs }) =>
        username === user &&
        wish !== undefined &&
        nonResourceURLs.some((pattern) => covers(pattern, wish.path)) &&
        (verbs.includes('*') || verbs.includes(wish.verb)),
    );
    return { ...review, status: { allowed } };
  }
}
