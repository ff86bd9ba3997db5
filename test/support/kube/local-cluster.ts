import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { clusterBinaries } from '../../../tools/cluster-binaries.ts';
import { eventually } from '../eventually.ts';
import { freePort } from '../free-port.ts';
import { mintCa, mintServer, type Pair } from '../pki/pki.ts';

/** Who may call, by static token. The groups are Kubernetes' own. */
export const CLUSTER_USERS = {
  admin: { token: 'cluster-admin-token', username: 'admin', groups: 'system:masters' },
  gateway: {
    token: 'cluster-gateway-token',
    username: 'system:serviceaccount:kubeedge:sallyport',
    groups: 'system:serviceaccounts,system:serviceaccounts:kubeedge',
  },
} as const;
const START_LIMIT_MS = 120_000;

/** `audit.k8s.io/v1` Event, as far as it is looked at. */
export interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
}

/** A real kube-apiserver and etcd on free ports of the loopback; nothing else of a cluster. */
export class LocalCluster implements AsyncDisposable {
  readonly folder: string;
  readonly ca: Pair;
  readonly #port: number;
  readonly #commands: readonly [etcd: readonly string[], api: readonly string[]];
  readonly #running = new Set<ChildProcess>();
  #api: ChildProcess | undefined;
  #log = '';

  private constructor(parts: {
    folder: string;
    ca: Pair;
    port: number;
    commands: readonly [etcd: readonly string[], api: readonly string[]];
  }) {
    this.folder = parts.folder;
    this.ca = parts.ca;
    this.#port = parts.port;
    this.#commands = parts.commands;
  }

  static async start(): Promise<LocalCluster> {
    const { folder: bin, missing } = clusterBinaries();
    if (missing.length > 0)
      throw new Error(
        `no ${missing.join(', ')}: build them with \`node tools/cluster-binaries.ts\`, which needs Go`,
      );
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-cluster-'));
    const [port, etcd, peers] = [await freePort(), await freePort(), await freePort()];
    const ca = await mintCa({ subject: 'CN=kubernetes' });
    const server = await mintServer(ca);
    const signing = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const file = (name: string, content: string) => {
      const path = join(folder, name);
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    };
    const users = Object.values(CLUSTER_USERS).map(
      ({ token, username, groups }) => `${token},${username},${username},"${groups}"\n`,
    );
    const policy = {
      apiVersion: 'audit.k8s.io/v1',
      kind: 'Policy',
      omitStages: ['RequestReceived'],
      rules: [{ level: 'Metadata' }],
    };
    const commands = [
      [
        join(bin, 'etcd'),
        `--data-dir=${join(folder, 'etcd')}`,
        `--listen-client-urls=http://127.0.0.1:${etcd}`,
        `--advertise-client-urls=http://127.0.0.1:${etcd}`,
        `--listen-peer-urls=http://127.0.0.1:${peers}`,
        '--unsafe-no-fsync',
      ],
      [
        join(bin, 'kube-apiserver'),
        `--etcd-servers=http://127.0.0.1:${etcd}`,
        '--bind-address=127.0.0.1',
        `--secure-port=${port}`,
        `--tls-cert-file=${file('server.crt', server.pem)}`,
        `--tls-private-key-file=${file('server.key', server.key)}`,
        `--service-account-signing-key-file=${file('sa.key', signing.privateKey.export({ type: 'pkcs1', format: 'pem' }) as string)}`,
        `--service-account-key-file=${file('sa.pub', signing.publicKey.export({ type: 'spki', format: 'pem' }) as string)}`,
        '--service-account-issuer=https://kubernetes.default.svc',
        '--service-cluster-ip-range=10.0.0.0/24',
        '--authorization-mode=RBAC',
        '--disable-admission-plugins=ServiceAccount',
        `--token-auth-file=${file('tokens.csv', users.join(''))}`,
        `--audit-policy-file=${file('audit.yaml', stringify(policy))}`,
        `--audit-log-path=${join(folder, 'audit.log')}`,
        // Now and then it asks for another connection, as one does that is about to stop.
        '--goaway-chance=0.02',
      ],
    ] as const;
    const cluster = new LocalCluster({ folder, ca, port, commands });
    try {
      cluster.#spawn(commands[0]);
      await cluster.startApi();
      await cluster.create('/api/v1/namespaces', { kind: 'Namespace', metadata: { name: 'kubeedge' } });
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts the API server and waits until it says that it is ready. */
  async startApi(): Promise<void> {
    const child = this.#spawn(this.#commands[1]);
    this.#api = child;
    const isReady = () => this.#call('GET', '/readyz').then(({ status }) => status === 200);
    await eventually(
      'the API server is ready',
      async () => {
        if (child.exitCode !== null) throw new Error(`kube-apiserver ended: ${this.#log.slice(-2_000)}`);
        return isReady().catch(() => false);
      },
      START_LIMIT_MS,
    );
  }

  /** SIGSTOP and SIGCONT freeze and thaw it; after SIGKILL it has ended. */
  async signalApi(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): Promise<void> {
    const child = this.#api!;
    const ended = signal === 'SIGKILL' ? once(child, 'exit') : undefined;
    child.kill(signal);
    await ended;
  }

  kubeconfig(user: keyof typeof CLUSTER_USERS): string {
    const { token } = CLUSTER_USERS[user];
    return stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'local',
          cluster: {
            server: `https://127.0.0.1:${this.#port}`,
            'certificate-authority-data': Buffer.from(this.ca.pem).toString('base64'),
          },
        },
      ],
      users: [{ name: user, user: { token } }],
      contexts: [{ name: user, context: { cluster: 'local', user } }],
      'current-context': user,
    });
  }

  /** Creates an object as the administrator of the cluster. @throws with the answer of the API */
  async create(path: string, object: object): Promise<void> {
    const { status, body } = await this.#call('POST', path, object);
    if (status !== 201) throw new Error(`${path}: ${status} ${body}`);
  }

  /** Changes the fields of an object that are given, as its administrator. @throws as {@link create} */
  async patch(path: string, object: object): Promise<void> {
    const { status, body } = await this.#call('PATCH', path, object);
    if (status !== 200) throw new Error(`${path}: ${status} ${body}`);
  }

  async secret(name: string): Promise<Readonly<Record<string, Buffer>>> {
    const { body } = await this.#call('GET', `/api/v1/namespaces/kubeedge/secrets/${name}`);
    const { data = {} } = JSON.parse(body) as { data?: Record<string, string> };
    return Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text, 'base64')]));
  }

  /** What was asked of the API so far, by its own log. */
  audit(): AuditEvent[] {
    return readFileSync(join(this.folder, 'audit.log'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as AuditEvent);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [...this.#running].reverse()) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn([program, ...args]: readonly string[]): ChildProcess {
    const child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    child.stderr!.on('data', (chunk) => {
      this.#log = (this.#log + chunk).slice(-20_000);
    });
    return child;
  }

  #call(method: string, path: string, object?: object): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port: this.#port,
          path,
          method,
          ca: this.ca.pem,
          timeout: 10_000,
          headers: {
            authorization: `Bearer ${CLUSTER_USERS.admin.token}`,
            // Merge patch (RFC 7396).
            'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
          },
        },
        async (response) => {
          let body = '';
          for await (const chunk of response) body += chunk;
          resolve({ status: response.statusCode!, body });
        },
      );
      call.once('timeout', () => call.destroy(new Error('no answer in time')));
      call.once('error', reject);
      call.end(object && JSON.stringify(object));
    });
  }
}
