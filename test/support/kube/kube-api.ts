import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { stringify } from 'yaml';
import { mintCa, mintServer, type Pair } from '../pki/pki.ts';
import { KubeReviews } from './kube-reviews.ts';

/** `rbac.authorization.k8s.io/v1` PolicyRule. */
export interface PolicyRule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

export interface KubeCall {
  readonly verb: string;
  readonly resource: string;
  readonly name: string | undefined;
  readonly query: URLSearchParams;
  /** The bearer token of the caller: tells replicas apart that were given one each. */
  readonly token?: string | undefined;
}

/** A write that took effect. */
export type KubeWrite = Pick<KubeCall, 'verb' | 'name' | 'token'>;

/** What happens to a call instead of, or before, its normal answer. */
export type KubeFault =
  | {
      readonly status: number;
      readonly reason?: string;
      /** What the answer is about, plural; default: secrets. */
      readonly kind?: string;
      readonly headers?: Record<string, string>;
    }
  | { readonly html: number }
  /** `commit`: the work is done, only the answer is lost. */
  | { readonly broken: 'reset' | 'truncate' | 'stall' | 'garbage'; readonly commit?: boolean }
  | { readonly delayMs: number }
  /** The answer is the last one on its connection, as of an API server that stops. */
  | { readonly farewell: true };

interface FaultRule {
  readonly matches: (call: KubeCall) => boolean;
  readonly fault: KubeFault;
  left: number;
}

interface Stored {
  readonly apiVersion: 'v1';
  readonly kind: string;
  readonly metadata: Record<string, unknown> & { name: string; namespace: string; resourceVersion: string };
  readonly [field: string]: unknown;
}
interface WatchEvent {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: Stored;
}
interface Watcher {
  readonly name: string | undefined;
  readonly response: ServerResponse;
}

const ALL: readonly PolicyRule[] = [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }];

/**
 * A Kubernetes API server in memory, as far as Secrets and Events of one namespace go: resource versions,
 * optimistic concurrency, list and watch with field selector, bookmarks and compaction, RBAC of one Role,
 * SelfSubjectAccessReview, and faults on demand.
 */
export class KubeApi implements AsyncDisposable {
  readonly namespace: string;
  readonly ca: Pair;
  readonly calls: KubeCall[] = [];
  /** Writes of Secrets that took effect, in their order; those of the test itself are not among them. */
  readonly writes: KubeWrite[] = [];
  /** Tokens that are accepted. */
  readonly tokens = new Set(['token-1']);
  rules: readonly PolicyRule[] = ALL;
  /** Whose tokens there are and who may what, for TokenReview and SubjectAccessReview. */
  readonly reviews = new KubeReviews();
  /** Whether it knows the form PartialObjectMetadata. */
  speaksMetadata = true;
  connections = 0;
  /** Bytes of answers and watches that were sent, without headers and TLS. */
  bytesSent = 0;
  readonly events = new Map<string, Stored>();
  /** What of others can be read: `deployments/cloudcore` and the like. */
  readonly others = new Map<string, object>();
  readonly #server: Server;
  readonly #secrets = new Map<string, Stored>();
  readonly #sockets = new Set<Socket>();
  /** The TCP socket under each TLS socket, by the port of the peer: only it can be reset. */
  readonly #raw = new Map<number, Socket>();
  /** Open watches, and among them those that are told what happens. */
  readonly #watches = new Set<Watcher>();
  readonly #watchers = new Set<Watcher>();
  readonly #faults: FaultRule[] = [];
  #history: WatchEvent[] = [];
  #version = 1000;
  #compacted = 0;

  private constructor(namespace: string, pki: { ca: Pair; server: Pair }) {
    this.namespace = namespace;
    this.ca = pki.ca;
    // As the real one it prefers HTTP/2; it cannot speak it, so a client that offers it gets nowhere.
    const tls = { cert: pki.server.pem, key: pki.server.key, ALPNProtocols: ['h2', 'http/1.1'] };
    this.#server = createServer(tls, (request, response) => {
      this.#answer(request, response).catch(() => request.socket.destroy());
    });
    this.#server.on('connection', (socket: Socket) => {
      const port = socket.remotePort!;
      this.#raw.set(port, socket);
      socket.once('close', () => this.#raw.delete(port));
    });
    this.#server.on('secureConnection', (socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(namespace = 'kubeedge'): Promise<KubeApi> {
    const ca = await mintCa({ subject: 'CN=kubernetes' });
    const api = new KubeApi(namespace, { ca, server: await mintServer(ca) });
    api.#server.listen(0, '127.0.0.1');
    await once(api.#server, 'listening');
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Watches that are open and told what happens. */
  get watches(): number {
    return this.#watchers.size;
  }

  /** A kubeconfig for this server. `tokenFile` is read again by the client as a pod's token is. */
  kubeconfig(options: { token?: string; tokenFile?: string; ca?: string } = {}): string {
    const { token = 'token-1', tokenFile, ca = this.ca.pem } = options;
    const user = tokenFile ? { 'auth-provider': { name: 'tokenFile', config: { tokenFile } } } : { token };
    return stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'test',
          cluster: {
            server: this.url,
            'certificate-authority-data': Buffer.from(ca).toString('base64'),
          },
        },
      ],
      users: [{ name: 'test', user }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      'current-context': 'test',
    });
  }

  /** Writes a Secret as another client would; `data` in base64. */
  put(name: string, fields: { data?: unknown; type?: string; labels?: Record<string, string> }): void {
    const { labels, ...rest } = fields;
    this.#store(name, { type: 'Opaque', ...rest, metadata: labels ? { labels } : {} });
  }

  stored(name: string): Stored | undefined {
    return this.#secrets.get(name);
  }

  secretNames(): string[] {
    return [...this.#secrets.keys()];
  }

  remove(name: string): void {
    const before = this.#secrets.get(name);
    if (!before) return;
    this.#secrets.delete(name);
    const version = ++this.#version;
    const metadata = { ...before.metadata, resourceVersion: String(version) };
    this.#publish({ version, type: 'DELETED', object: { ...before, metadata } });
  }

  /** The next `times` calls that match get the fault. Gives back how to end it. */
  fail(
    match: Partial<Pick<KubeCall, 'verb' | 'name' | 'resource' | 'token'>>,
    fault: KubeFault,
    times = Number.POSITIVE_INFINITY,
  ): () => void {
    const rule: FaultRule = {
      matches: (call) =>
        Object.entries(match).every(([field, value]) => call[field as 'verb' | 'name'] === value),
      fault,
      left: times,
    };
    this.#faults.push(rule);
    return () => {
      rule.left = 0;
    };
  }

  /** Forgets all history: a watch from an older version gets 410. */
  compact(): void {
    this.#history = [];
    this.#compacted = ++this.#version;
  }

  /** Tells every watch the current version. */
  bookmark(): void {
    const metadata = { resourceVersion: String(this.#version), creationTimestamp: null };
    for (const { response } of this.#watchers)
      writeLine(response, { type: 'BOOKMARK', object: { kind: 'Secret', apiVersion: 'v1', metadata } });
  }

  /** Ends all watches: in the regular way, by a reset, or with a line of one's choice. */
  endWatches(how: 'end' | 'reset' | { readonly line: string }): void {
    const open = [...this.#watches];
    this.#watches.clear();
    this.#watchers.clear();
    for (const { response } of open) {
      if (how === 'reset') this.#reset(response);
      else if (how === 'end') response.end();
      else response.end(how.line);
    }
  }

  /** Watches stay open, but tell nothing any more. */
  silenceWatches(): void {
    this.#watchers.clear();
  }

  callsOf(verb: string): KubeCall[] {
    return this.calls.filter((call) => call.verb === verb);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #count(response: ServerResponse): void {
    const { write, end } = response;
    const counting = (send: (...args: never[]) => unknown) => (chunk?: unknown, rest?: never) => {
      if (typeof chunk === 'string') this.bytesSent += Buffer.byteLength(chunk);
      return send.call(response, chunk as never, rest as never);
    };
    Object.assign(response, { write: counting(write), end: counting(end) });
  }

  #reset(response: ServerResponse): void {
    this.#raw.get(response.socket?.remotePort ?? 0)?.resetAndDestroy();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#count(response);
    const url = new URL(request.url!, this.url);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1];
    const parsed = parseCall(request.method!, url);
    if (!parsed) return status(response, 404, 'NotFound');
    // A create has its name in the body; for faults and records it is as good as one in the path.
    const call = { ...parsed, name: parsed.name ?? nameIn(text), token };
    this.calls.push(call);
    const rule = this.#faults.find(({ left, matches }) => left > 0 && matches(call));
    if (rule) {
      rule.left--;
      if (await this.#misbehave(rule.fault, { call, text, response })) return;
    }
    if (!token || !this.tokens.has(token)) return status(response, 401, 'Unauthorized');
    this.#serve(
      {
        ...call,
        metadataOnly: this.speaksMetadata && /as=PartialObjectMetadata/.test(request.headers.accept ?? ''),
      },
      text,
      response,
    );
  }

  /** True when the call has been dealt with. */
  async #misbehave(
    fault: KubeFault,
    { call, text, response }: { call: KubeCall; text: string; response: ServerResponse },
  ): Promise<boolean> {
    if ('delayMs' in fault) {
      await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
      return false;
    }
    if ('farewell' in fault) {
      response.setHeader('connection', 'close');
      return false;
    }
    if ('status' in fault) {
      const { status: code, reason = '', kind = 'secrets', headers = {} } = fault;
      status(response, code, reason, { kind, headers });
      return true;
    }
    if ('html' in fault) {
      response
        .writeHead(fault.html, { 'content-type': 'text/html' })
        .end('<html><h1>Bad Gateway</h1></html>');
      return true;
    }
    if (fault.commit) this.#serve(call, text, undefined);
    if (fault.broken === 'reset') this.#reset(response!);
    if (fault.broken === 'garbage') response.writeHead(200).end('{"kind":"Secret","metadata":');
    if (fault.broken === 'truncate') {
      response.writeHead(200, { 'content-length': '4000' }).write('{"kind":"Secret","metadata":');
      setImmediate(() => response.socket?.destroy());
    }
    return true;
  }

  #serve(
    call: KubeCall & { readonly metadataOnly?: boolean },
    text: string,
    response: ServerResponse | undefined,
  ): void {
    const reply = (code: number, body: unknown) => response && json(response, code, body);
    const form = (object: Stored) => (call.metadataOnly ? metadataOf(object) : object);
    const refuse = (code: number, reason: string, kind = 'secrets') =>
      response && status(response, code, reason, { kind });
    if (call.resource === 'tokenreviews' || call.resource === 'subjectaccessreviews') {
      if (!this.#allows('create', call.resource, undefined)) return void refuse(403, 'Forbidden');
      return void reply(201, this.reviews.answer(call.resource, JSON.parse(text)));
    }
    if (call.resource === 'namespaces') {
      if (!this.#allows(call.verb, call.resource, undefined)) return void refuse(403, 'Forbidden');
      // There is one namespace, whatever its name: who removes it removes everything.
      if (call.verb === 'delete') for (const name of [...this.#secrets.keys()]) this.remove(name);
      const answer = { kind: 'Namespace', apiVersion: 'v1', metadata: { name: call.name } };
      return void reply(call.verb === 'create' ? 201 : 200, answer);
    }
    if (OTHERS.test(call.resource)) {
      if (!this.#allows(call.verb, call.resource, call.name))
        return void refuse(403, 'Forbidden', call.resource);
      const found = this.others.get(`${call.resource}/${call.name}`);
      return void (found ? reply(200, found) : refuse(404, 'NotFound', call.resource));
    }
    if (call.resource === 'selfsubjectaccessreviews') {
      const review = JSON.parse(text) as { spec: { resourceAttributes: Record<string, string> } };
      const { verb = '', resource = '', name } = review.spec.resourceAttributes;
      return void reply(201, { ...review, status: { allowed: this.#allows(verb, resource, name) } });
    }
    const selector = /^metadata\.name=(.*)$/.exec(call.query.get('fieldSelector') ?? '')?.[1];
    const named = call.verb === 'create' ? undefined : (call.name ?? selector);
    if (!this.#allows(call.verb, call.resource, named)) return void refuse(403, 'Forbidden');
    const body = text
      ? (JSON.parse(text) as Record<string, unknown> & { metadata: Record<string, string> })
      : undefined;
    if (call.resource === 'events') {
      const name = call.name ?? body!.metadata.name ?? `${body!.metadata.generateName}${this.#version}`;
      if (call.verb === 'create' && this.events.has(name)) return void refuse(409, 'AlreadyExists', 'events');
      if (call.verb === 'patch' && !this.events.has(name)) return void refuse(404, 'NotFound', 'events');
      const event = { ...this.events.get(name), ...body } as Stored;
      this.events.set(name, event);
      return void reply(call.verb === 'create' ? 201 : 200, event);
    }
    switch (call.verb) {
      case 'get': {
        const found = this.#secrets.get(call.name!);
        return void (found ? reply(200, form(found)) : refuse(404, 'NotFound'));
      }
      case 'create': {
        if (this.#secrets.has(body!.metadata.name!)) return void refuse(409, 'AlreadyExists');
        this.writes.push(call);
        return void reply(201, this.#store(body!.metadata.name!, body!));
      }
      case 'update': {
        const found = this.#secrets.get(call.name!);
        if (!found) return void refuse(404, 'NotFound');
        // Without a version, Kubernetes overwrites blindly.
        const version = body!.metadata.resourceVersion;
        if (version && version !== found.metadata.resourceVersion) return void refuse(409, 'Conflict');
        if (body!.type !== found.type) return void refuse(422, 'Invalid');
        this.writes.push(call);
        return void reply(200, this.#store(call.name!, body!));
      }
      case 'delete': {
        const found = this.#secrets.get(call.name!);
        if (!found) return void refuse(404, 'NotFound');
        this.remove(call.name!);
        return void reply(200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' });
      }
      case 'list': {
        const items = [...this.#secrets.values()].filter(
          ({ metadata }) => selector === undefined || metadata.name === selector,
        );
        const metadata = { resourceVersion: String(this.#version) };
        const list = call.metadataOnly
          ? { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1' }
          : { kind: 'SecretList', apiVersion: 'v1' };
        return void reply(200, { ...list, metadata, items: items.map(form) });
      }
      case 'watch':
        if (response) this.#startWatch(call, { selector, response });
        return;
      default:
        return void refuse(405, 'MethodNotAllowed');
    }
  }

  #startWatch(
    call: KubeCall,
    { selector, response }: { selector: string | undefined; response: ServerResponse },
  ): void {
    const from = Number(call.query.get('resourceVersion') ?? this.#version);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < this.#compacted) {
      const object = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
      return;
    }
    const watcher: Watcher = { name: selector, response };
    for (const event of this.#history) if (event.version > from) deliver(watcher, event);
    this.#watchers.add(watcher);
    this.#watches.add(watcher);
    const seconds = Number(call.query.get('timeoutSeconds') ?? 3600);
    const timer = setTimeout(() => response.end(), seconds * 1000).unref();
    response.once('close', () => {
      clearTimeout(timer);
      this.#watchers.delete(watcher);
      this.#watches.delete(watcher);
    });
  }

  #store(name: string, body: Record<string, unknown>): Stored {
    const before = this.#secrets.get(name);
    const version = ++this.#version;
    const object: Stored = {
      ...body,
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        uid: `uid-${version}`,
        ...before?.metadata,
        ...(body.metadata as object),
        name,
        namespace: this.namespace,
        resourceVersion: String(version),
      },
    };
    this.#secrets.set(name, object);
    this.#publish({ version, type: before ? 'MODIFIED' : 'ADDED', object });
    return object;
  }

  #publish(event: WatchEvent): void {
    this.#history.push(event);
    for (const watcher of this.#watchers) deliver(watcher, event);
  }

  /** RBAC: a rule with resourceNames allows list and watch only of one named object, and never create. */
  #allows(verb: string, resource: string, name: string | undefined): boolean {
    const covers = (values: readonly string[] | undefined, value: string) =>
      values?.some((entry) => entry === '*' || entry === value) ?? false;
    return this.rules.some(
      (rule) =>
        covers(rule.verbs, verb) &&
        covers(rule.resources, resource) &&
        covers(rule.apiGroups, GROUPS[resource] ?? '') &&
        (!rule.resourceNames?.length ||
          (verb !== 'create' && name !== undefined && rule.resourceNames.includes(name))),
    );
  }
}

const OTHERS = /^(deployments|services|leases)$/;
const GROUPS: Readonly<Record<string, string>> = {
  selfsubjectaccessreviews: 'authorization.k8s.io',
  subjectaccessreviews: 'authorization.k8s.io',
  tokenreviews: 'authentication.k8s.io',
  deployments: 'apps',
  leases: 'coordination.k8s.io',
};

function metadataOf({ metadata }: Stored): unknown {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}

function nameIn(text: string): string | undefined {
  return text ? (JSON.parse(text) as { metadata?: { name?: string } }).metadata?.name : undefined;
}

function parseCall(method: string, url: URL): KubeCall | undefined {
  const query = url.searchParams;
  const review = Object.keys(GROUPS).find(
    (resource) => url.pathname === `/apis/${GROUPS[resource]}/v1/${resource}`,
  );
  if (review) return { verb: 'create', resource: review, name: undefined, query };
  const namespace = /^\/api\/v1\/namespaces(?:\/([^/]+))?$/.exec(url.pathname);
  if (namespace)
    return {
      verb: method === 'POST' ? 'create' : method.toLowerCase(),
      resource: 'namespaces',
      name: namespace[1],
      query,
    };
  const match =
    /^\/api(?:\/v1|s\/(?:apps|coordination\.k8s\.io)\/v1)\/namespaces\/[^/]+\/(secrets|events|deployments|services|leases)(?:\/([^/]+))?$/.exec(
      url.pathname,
    );
  if (!match) return undefined;
  const [, resource = '', name] = match;
  const list = query.get('watch') ? 'watch' : 'list';
  const verbs: Record<string, string> = {
    GET: name ? 'get' : list,
    POST: 'create',
    PUT: 'update',
    PATCH: 'patch',
  };
  return { verb: verbs[method] ?? method.toLowerCase(), resource, name, query };
}

function deliver(watcher: Watcher, { type, object }: WatchEvent): void {
  if (watcher.name === undefined || watcher.name === object.metadata.name)
    writeLine(watcher.response, { type, object });
}

function writeLine(response: ServerResponse, event: unknown): void {
  response.write(`${JSON.stringify(event)}\n`);
}

function json(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function status(
  response: ServerResponse,
  code: number,
  reason: string,
  { headers = {}, kind = 'secrets' }: { headers?: Record<string, string>; kind?: string } = {},
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(
    JSON.stringify({
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      code,
      reason,
      details: { kind },
    }),
  );
}
