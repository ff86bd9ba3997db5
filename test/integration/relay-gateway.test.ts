import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/index.ts';
import { gatewayInFront } from '../support/cloudcore/gateway-in-front.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { listNodes, metric } from '../support/fleets/gateway-views.ts';
import { sallyport } from '../support/fleets/process.ts';
import { writeSecret } from '../support/fleets/secret-files.ts';
import { mintServer } from '../support/pki/pki.ts';

const NODE = 'e-rel';
const LEASE = `kube-node-lease/lease/${NODE}`;

describe('a gateway in front of a CloudCore', () => {
  test('U1, U4: an unmodified EdgeCore is answered, and neither side notices a new hub certificate', async () => {
    await using it = await gatewayInFront();
    await using edge = await it.edge(NODE);
    expect((await edge.ask('query', LEASE))?.content).toMatchObject({ Object: null });
    const [node] = await listNodes(it.hub);
    expect(node?.upstream).toMatchObject({ address: it.cloudcore.address, state: 'open', reconnects: 0 });
    const fresh = await mintServer(it.ca);
    writeSecret(it.folder, 'cloudcoresecret', {
      cloudcoredata: fresh.der,
      cloudcorekeydata: fresh.privateKey.export({ type: 'sec1', format: 'der' }),
    });
    await eventually('the new one is served', async () => {
      const served = await servedCertificate(it.hub.port('websocket'));
      return served.fingerprint256 === fresh.certificate.fingerprint256;
    });
    expect(await edge.ask('query', LEASE)).toBeDefined();
    expect(edge.counts).toMatchObject({ closes: 0, unanswered: 0 });
    expect(it.cloudcore.connects).toHaveLength(1);
    const list = await sallyport([
      ...['nodes', 'list', '--admin', it.hub.gateway.ready().admin!],
      ...['--cert', join(it.folder, 'admin.crt'), '--key', join(it.folder, 'admin.key')],
      ...['--ca', join(it.folder, 'ca.crt')],
    ]);
    expect(list.stdout).toMatch(new RegExp(`CLOUDCORE\n.*${it.cloudcore.address}`));
    expect(await metric(it.hub, 'upstream_connections', { cloudcore: it.cloudcore.address })).toBe(1);
  });

  test('U1: an edge with our SDK speaks over QUIC with CloudCore as well', async () => {
    await using it = await gatewayInFront({ 'quic.enabled': 'true' });
    const token = await it.hub.nodeToken(NODE);
    await using edge = await EdgeClient.join({ ...it.hub.edgeOptions(NODE, { transport: 'quic' }), token });
    await edge.connect();
    const answer = await edge.request({
      source: 'edged',
      group: 'meta',
      operation: 'query',
      resource: LEASE,
    });
    expect(answer.content).toMatchObject({ Object: null });
    expect(answer.route.source).toBe('edgecontroller');
    expect(it.cloudcore.connects.map(({ node }) => node)).toEqual([NODE]);
  });
});
