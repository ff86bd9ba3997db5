import { namesOf, oneLine } from '../../certs/x509/certificate-names.ts';
import 'reflect-metadata';
import type { X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { readClientTrust } from '../../certs/bundle/certificate-bundle.ts';
import { isTlsSecret, readHubCertificate } from '../../certs/bundle/hub-certificate.ts';
import { type HubSecretOptions, isManaged, whyIssue } from '../../certs/bundle/hub-secret.ts';
import { CertificateAuthority } from '../../certs/ca/certificate-authority.ts';
import { verifyToken } from '../../certs/enrolment/enrolment-token.ts';
import { decodeTokenState } from '../../certs/enrolment/token-state-codec.ts';
import type { AdvertisedNames } from '../../certs/x509/advertised-names.ts';
import type { SecretSnapshot } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';

export interface AdoptionOptions {
  readonly certificates: HubSecretOptions & {
    readonly caSecret: string;
    readonly trustSecret: string;
    readonly revocationSecret: string;
    readonly historySecret: string;
    readonly replicaSecret: string;
    readonly caDays: number;
  };
  readonly tokens: {
    readonly fleetSecret: string;
    readonly stateSecret: string;
    readonly acceptFleet: boolean;
    readonly acceptKubeEdge: boolean;
  };
  readonly identity: { readonly allowLegacy: boolean };
  readonly names: AdvertisedNames;
}

export interface Finding {
  /** `blocks`: the gateway would not start. `breaks`: it starts, and somebody may be cut off. */
  readonly level: 'found' | 'changes' | 'breaks' | 'blocks';
  /** A Secret by its name, anything else as `kind/name`. */
  readonly object: string;
  readonly text: string;
}

const DAY_MS = 86_400_000;
/** A CA that ends within this needs a rollover soon (requirement C5). */
const SHORT_CA_MS = 180 * DAY_MS;
const NOBODYS_KEY = new Uint8Array(32);

/**
 * What a gateway that starts on these Secrets would find, change and possibly break. Writes nothing and
 * quotes no value. The findings are in the order of reading: CA, hub certificate, trust, tokens, what is the
 * gateway's own, identities.
 */
export async function reportAdoption(
  { clock }: { clock: Clock },
  snapshot: SecretSnapshot,
  options: AdoptionOptions,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const add = (level: Finding['level'], object: string, text: string) =>
    void findings.push({ level, object, text });
  const ca = lookAtCa(snapshot, { options, clock, add });
  if (ca) lookAtHub(snapshot, { ca, options, clock, add });
  lookAtTrust(snapshot, { options, add });
  await lookAtTokens(snapshot, { ca, options, clock, add });
  lookAtOwn(snapshot, { options, add });
  if (!options.identity.allowLegacy)
    add(
      'breaks',
      options.certificates.caSecret,
      'edges whose certificate names no node (CN=kubeedge.io, of old KubeEdge versions) are refused; identity.legacyNodes or identity.allowLegacy lets them in',
    );
  return findings;
}

type Add = (level: Finding['level'], object: string, text: string) => void;
interface Context {
  readonly options: AdoptionOptions;
  readonly clock: Clock;
  readonly add: Add;
}

function lookAtCa(
  snapshot: SecretSnapshot,
  { options, clock, add }: Context,
): CertificateAuthority | undefined {
  const { caSecret, caDays } = options.certificates;
  const stored = snapshot.get(caSecret);
  if (!stored) {
    add('changes', caSecret, `a new CA is created, valid for ${caDays} days`);
    add('breaks', caSecret, 'edges that joined with another CA have to join again');
    return undefined;
  }
  try {
    const ca = CertificateAuthority.fromSecret(stored, { clock });
    const { subject, sha256, notAfter } = ca.certificate;
    add(
      'found',
      caSecret,
      `CA ${oneLine(subject)}, SHA-256 ${sha256}, until ${day(notAfter)}; never written`,
    );
    const leftMs = notAfter.getTime() - clock.now();
    if (leftMs <= 0) add('blocks', caSecret, 'the CA has expired');
    else if (leftMs < SHORT_CA_MS)
      add('breaks', caSecret, `the CA ends in ${Math.floor(leftMs / DAY_MS)} days, and everything with it`);
    return ca;
  } catch (error) {
    add('blocks', caSecret, `${describeError(error)}; nothing is written`);
    return undefined;
  }
}

function lookAtHub(
  snapshot: SecretSnapshot,
  { ca, options, clock, add }: Context & { ca: CertificateAuthority },
): void {
  const { certificates, names } = options;
  const secret = certificates.hubSecret;
  const stored = snapshot.get(secret);
  const all = [...names.dns, ...names.ips];
  try {
    const why = whyIssue(stored, { ca, names, options: certificates }, clock.now());
    if (stored) {
      try {
        const { leaf } = readHubCertificate(stored);
        const own = namesOf(leaf);
        add('found', secret, `hub certificate for ${own.join(', ')}, until ${day(leaf.validToDate)}`);
        if (looksSelfSigned(leaf))
          add(
            'breaks',
            secret,
            'it bears the name of its CA and no key identifier: EdgeCore accepts that, programs on OpenSSL (curl, the SDK, this command line) take it for self-signed; delete this Secret under the running gateway and it issues another within seconds',
          );
        const lost = own.filter((name) => !all.includes(name));
        if (lost.length > 0 && isManaged(stored, certificates))
          add(
            'breaks',
            secret,
            `advertise.addresses lacks ${lost.join(', ')}: edges that use ${lost.length > 1 ? 'them' : 'it'} are lost at the next renewal`,
          );
      } catch (error) {
        add('found', secret, `a hub certificate that cannot be used: ${describeError(error)}`);
      }
      if (isTlsSecret(stored)) add('found', secret, 'kubernetes.io/tls: followed, never written');
    }
    if (why !== undefined)
      add('changes', secret, `a hub certificate is issued from the CA (${why}) for ${all.join(', ')}`);
  } catch (error) {
    add('blocks', secret, describeError(error));
  }
}

function lookAtTrust(snapshot: SecretSnapshot, { options, add }: Omit<Context, 'clock'>): void {
  const secret = options.certificates.trustSecret;
  const stored = snapshot.get(secret);
  if (!stored) return;
  try {
    add('found', secret, `${readClientTrust(stored).length} further CA(s) whose edges are accepted`);
  } catch (error) {
    add('blocks', secret, describeError(error));
  }
}

async function lookAtTokens(
  snapshot: SecretSnapshot,
  { ca, options, clock, add }: Context & { ca: CertificateAuthority | undefined },
): Promise<void> {
  const { fleetSecret, stateSecret, acceptFleet, acceptKubeEdge } = options.tokens;
  const state = snapshot.get(stateSecret);
  let ownKey: Uint8Array = NOBODYS_KEY;
  if (!state) add('changes', stateSecret, 'is created, with a token key of its own');
  else {
    try {
      ownKey = decodeTokenState(state).key;
      add('found', stateSecret, 'state of the tokens');
    } catch (error) {
      add('blocks', stateSecret, describeError(error));
    }
  }
  if (!acceptFleet) return add('found', fleetSecret, 'is left alone: tokens.acceptFleet is off');
  const text = Buffer.from(snapshot.get(fleetSecret)?.data.tokendata ?? []).toString('utf8');
  if (text === '' || !ca) return add('changes', fleetSecret, 'a fleet token is written');
  try {
    const token = await verifyToken(text, {
      ownKey,
      kubeEdgeKey: ca.rawKey,
      caSha256: [ca.certificate.sha256],
      now: clock.now(),
    });
    const end = new Date(token.expiresAt).toISOString();
    if (token.kind === 'kubeedge' && !acceptKubeEdge)
      return add('breaks', fleetSecret, "KubeEdge's token is refused: tokens.acceptKubeEdge is off");
    add('found', fleetSecret, `a ${token.kind} token, good until ${end}; replaced after a third of its life`);
  } catch (error) {
    add('changes', fleetSecret, `the stored token is replaced: ${describeError(error)}`);
  }
}

/** Secrets that nobody but the gateway knows. */
function lookAtOwn(snapshot: SecretSnapshot, { options, add }: Omit<Context, 'clock'>): void {
  const { revocationSecret, historySecret, replicaSecret } = options.certificates;
  const purposes = [
    [revocationSecret, 'the list of who is shut out'],
    [historySecret, 'the history of nodes'],
    [replicaSecret, 'what replicas tell each other'],
  ] as const;
  for (const [secret, purpose] of purposes)
    if (snapshot.get(secret)) add('found', secret, purpose);
    else add('changes', secret, `is created: ${purpose}`);
}

/**
 * OpenSSL's X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT looks at names and key identifiers, not at the signature.
 */
function looksSelfSigned(leaf: X509Certificate): boolean {
  if (leaf.subject !== leaf.issuer) return false;
  const extension = new x509.X509Certificate(leaf.raw).getExtension(x509.AuthorityKeyIdentifierExtension);
  return !extension;
}

const day = (date: Date) => date.toISOString().slice(0, 10);
