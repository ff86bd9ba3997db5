import { join } from 'node:path';
import type { EdgeCoreCredentials } from '../edges/edgecore.ts';
import { mintNode } from '../fleets/gateway-views.ts';
import { writeCaSecret } from '../fleets/secret-files.ts';
import { startTestGateway } from '../fleets/test-gateway.ts';
import { mintCa, mintServer } from '../pki/pki.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { FakeApi } from './fake-api.ts';
import { FakeCloudCore } from './fake-cloudcore.ts';
import { FakeEdgeCore } from './fake-edgecore.ts';

/** A gateway that adopted the CA of a CloudCore, in front of it. */
export async function gatewayInFront(settings: Record<string, string> = {}) {
  const folder = join(temporaryFolder(), 'secrets');
  const ca = await mintCa();
  writeCaSecret(folder, ca);
  const api = new FakeApi();
  const server = await mintServer(ca);
  const cloudcore = await new FakeCloudCore({ ca, server, api, authorization: true }).start();
  const hub = await startTestGateway({
    folder,
    settings: {
      'upstream.kind': 'cloudcore',
      'upstream.addresses': cloudcore.address,
      'upstream.tunnelAddresses': cloudcore.tunnelAddress,
      'upstream.httpsAddresses': cloudcore.address,
      'tunnel.enabled': 'true',
      'tunnel.host': '127.0.0.1',
      'tunnel.port': '0',
      ...settings,
    },
  });
  return {
    ca,
    api,
    hub,
    cloudcore,
    folder,
    edge: async (node: string, credentials?: EdgeCoreCredentials) =>
      new FakeEdgeCore({
        node,
        port: () => hub.port('websocket'),
        credentials: credentials ?? (await mintNode(hub, node)),
      }).start(),
    async [Symbol.asyncDispose]() {
      await hub[Symbol.asyncDispose]();
      await cloudcore.kill();
    },
  };
}
