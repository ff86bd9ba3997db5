import type { BackupWatcher } from '../contracts/backups.ts';
import type { CertificateAdmin, TokenMinter } from '../contracts/certificate-issuer.ts';
import type { GatewayInfo } from '../contracts/gateway-info.ts';
import type { ServedCertificates } from '../contracts/served-certificates.ts';
import { type ApiRoute, apiRoute } from './api-route.ts';
import { certificates as certificatesShape, servedCertificates } from './schemas/certificates.ts';
import { backup, ownInfo } from './schemas/gateway.ts';
import { token, tokenBody } from './schemas/tokens.ts';

export interface GatewayRouteComponents {
  readonly info: () => GatewayInfo;
  readonly certificates: CertificateAdmin;
  readonly tokens: TokenMinter;
  readonly backups: BackupWatcher;
  readonly served: ServedCertificates;
}

/** The gateway itself: what it is, its certificates, its tokens. */
export function gatewayRoutes(components: GatewayRouteComponents): ApiRoute[] {
  const { info, certificates, tokens, backups, served } = components;
  const certificateState = () => {
    const status = certificates.status();
    const listeners = info().listeners.map((listener) => ({
      ...listener,
      address: formatAddress(listener),
      servesWanted: listener.servedFingerprint === status.wantedFingerprint,
    }));
    const token = tokens.describeFleetToken();
    return { ...status, certificates: [...status.certificates, ...(token ? [token] : [])], listeners };
  };
  return [
    apiRoute({
      method: 'GET',
      path: '/api/v1/info',
      operationId: 'getInfo',
      tag: 'Gateway',
      summary: 'What runs here, and who asks',
      answers: { 200: { description: 'the gateway', schema: ownInfo } },
      handle: async ({ caller: { name, role } }) => ({
        status: 200,
        body: { ...info(), caller: { name, role: await role() } },
      }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/certificates',
      operationId: 'getCertificates',
      tag: 'Certificates',
      summary: 'Certificates that are stored, wanted and served',
      answers: { 200: { description: 'their state', schema: certificatesShape } },
      handle: async () => ({ status: 200, body: certificateState() }),
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/backup',
      operationId: 'getBackup',
      tag: 'Gateway',
      summary: 'When the last backup was made',
      answers: { 200: { description: 'what is recorded of it', schema: backup } },
      handle: async () => ({ status: 200, body: await backups.status() }),
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/certificates/hub/rotate',
      operationId: 'rotateHubCertificate',
      tag: 'Certificates',
      summary: 'Issue a new hub certificate now; open connections stay',
      answers: { 200: { description: 'the state after it', schema: certificatesShape } },
      handle: async () => {
        await certificates.rotateHub();
        return { status: 200, body: certificateState() };
      },
    }),
    apiRoute({
      method: 'GET',
      path: '/api/v1/certificates/served',
      operationId: 'listServedCertificates',
      tag: 'Certificates',
      summary: 'What the listeners of every replica were seen to serve, by handshakes with them',
      answers: { 200: { description: 'one item a replica and listener', schema: servedCertificates } },
      handle: async () => ({ status: 200, body: { items: await served.list() } }),
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/certificates/accept',
      operationId: 'acceptHubCertificate',
      tag: 'Certificates',
      summary: 'Keep the stored hub certificate, also when it was taken back because nodes could not connect',
      answers: { 200: { description: 'the state after it', schema: certificatesShape } },
      handle: async () => {
        await certificates.acceptStored();
        return { status: 200, body: certificateState() };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/tokens',
      operationId: 'createToken',
      tag: 'Tokens',
      summary: 'Create a token for one node, or hand out the fleet token',
      body: tokenBody,
      answers: { 200: { description: 'the token', schema: token } },
      handle: async ({ body: { node, ttlMs } }) => {
        const minted =
          node === undefined ? await tokens.fleetToken() : await tokens.createNodeToken(node, ttlMs);
        return { status: 200, body: { token: minted.token, expiresAt: minted.expiresAt.toISOString() } };
      },
    }),
    apiRoute({
      method: 'POST',
      path: '/api/v1/tokens/revoke-all',
      operationId: 'revokeAllTokens',
      tag: 'Tokens',
      summary: 'Refuse every token created until now, on every replica',
      audit: 'wanted',
      answers: { 204: { description: 'they are revoked' } },
      handle: async () => {
        await tokens.revokeAll();
        return { status: 204 };
      },
    }),
  ];
}

const formatAddress = ({ host, port }: { host: string; port: number }) =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
