import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Content } from '../../src/protocol/content.ts';
import type { Message } from '../../src/protocol/message.ts';
import { EdgeClient } from '../../src/sdk/index.ts';
import { gatewayInFront } from '../support/cloudcore/gateway-in-front.ts';
import { renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { type Call, call } from '../support/edges/https-client.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { listNodes, metric, mintNode } from '../support/fleets/gateway-views.ts';
import { sallyport } from '../support/fleets/process.ts';
import { readCa, writeSecret } from '../support/fleets/secret-files.ts';
import { mintEdge, mintServer } from '../support/pki/pki.ts';

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

  test.each(['quic', 'webtransport'] as const)(
    'U1: an edge with our SDK speaks over %s with CloudCore as well',
    async (transport) => {
      await using it = await gatewayInFront({ [`${transport}.enabled`]: 'true' });
      const token = await it.hub.nodeToken(NODE);
      await using edge = await EdgeClient.join({ ...it.hub.edgeOptions(NODE, { transport }), token });
      const pushed: string[] = [];
      edge.on('message', ({ route }) => void pushed.push(route.resource ?? ''));
      await edge.connect();
      const answer = await edge.request({
        source: 'edged',
        group: 'meta',
        operation: 'query',
        resource: LEASE,
      });
      expect(answer.content).toMatchObject({ Object: null });
      expect(answer.route.source).toBe('edgecontroller');
      // Pushed by CloudCore, and acknowledged by the edge to CloudCore.
      it.api.put('default/configmap/a', {}, { node: NODE });
      await eventually('acknowledged', () => it.api.missing(NODE).length === 0);
      expect(pushed).toEqual(['default/configmap/a']);
      // Our own go beside them, and are acknowledged to us.
      const own = { resource: 'app/x', operation: 'update', content: 1, wait: 'ack', timeoutMs: 10_000 };
      await it.hub.admin.post(`/api/v1/nodes/${NODE}/messages`, own);
      expect(it.cloudcore.heard.some(({ text }) => text.includes('app/x'))).toBe(false);
      expect(it.cloudcore.connects.map(({ node }) => node)).toEqual([NODE]);
    },
  );

  test('U1: upstream.copy shows cloud programs what edges say to CloudCore, byte for byte, over EdgeCore and our SDK', async () => {
    await using it = await gatewayInFront({ 'upstream.copy': 'true', 'quic.enabled': 'true' });
    const following = new AbortController();
    const seen: string[] = [];
    const followed = (async () => {
      for await (const { text } of it.hub.admin.events('/api/v1/events?type=message', {
        signal: following.signal,
      }))
        seen.push(text);
    })();
    await eventually('somebody follows', async () => (await metric(it.hub, 'upstream_subscribers')) === 1);
    const resource = 'default/configmap/a';
    const route = { source: 'edged', group: 'meta', operation: 'query', resource };
    // Parsing and writing it again would change every part of it.
    const exact = '{"b":9223372036854775807,"a":[-0,1.0],"a":"\\u00e9\\/"}';

    await using edgecore = await it.edge(NODE);
    const header = '{"msg_id":"m-1","timestamp":1}';
    edgecore.sendText(`{"header":${header},"route":${JSON.stringify(route)},"content":${exact}}\n`);
    const options = { ...it.hub.edgeOptions('e-sdk', { transport: 'quic' }) };
    await using sdk = await EdgeClient.join({ ...options, token: await it.hub.nodeToken('e-sdk') });
    await sdk.connect();
    await sdk.request({ ...route, content: Content.check(Buffer.from(exact)) });

    for (const node of [NODE, 'e-sdk'])
      await eventually(`${node} is copied`, () =>
        seen.some(
          (text) => text.includes(`"node/${node}/${resource}"`) && text.includes(`"content":${exact}`),
        ),
      );
    const isQuestion = ({ route, header }: Message) => route.resource === resource && !header.parent_msg_id;
    const heard = it.cloudcore.heard.filter(({ message }) => isQuestion(message));
    expect(heard.map(({ node, text }) => [node, text.includes(`"content":${exact}`)])).toEqual([
      [NODE, true],
      ['e-sdk', true],
    ]);
    following.abort();
    await followed;
  });

  test('U4: a whole CA rollover of the edges passes CloudCore by, and it may start anew with the CA it had or with the new one', async () => {
    await using it = await gatewayInFront({ 'hub.expiryGraceMs': '100' });
    const step = (name: string) => it.hub.admin.post(`/api/v1/ca/rollover/${name}`, { force: true });
    const isOpen = async () => (await listNodes(it.hub))[0]?.upstream?.state === 'open';
    let edge = await it.edge(NODE);
    expect(await edge.ask('query', LEASE)).toBeDefined();
    await step('prepare');
    await step('activate');
    expect(await edge.ask('query', LEASE)).toBeDefined();
    expect(edge.counts.closes).toBe(0);
    expect(it.cloudcore.connects).toHaveLength(1);

    // The edge comes back with a certificate of the new CA; one of the old CA is worth nothing any more.
    const renewed = await renewAsEdgeCore(it.hub.port('https'), NODE, await mintNode(it.hub, NODE));
    edge.stop();
    edge = await it.edge(NODE, renewed.credentials);
    await eventually('it is connected', isOpen);
    await step('retire');
    await step('revoke');
    expect(readCa(it.folder).sha256).not.toBe(it.ca.sha256);
    await it.cloudcore.kill();
    await it.cloudcore.start();
    expect(await edge.ask('query', LEASE)).toBeDefined();
    expect(edge.counts).toMatchObject({ closes: 0, unanswered: 0, twice: 0 });
    const next = readCa(it.folder);
    await it.cloudcore.kill();
    it.cloudcore.load({ ca: next, server: await mintServer(next) });
    await it.cloudcore.start();
    expect(await edge.ask('query', LEASE)).toBeDefined();
    expect(edge.counts).toMatchObject({ closes: 0, unanswered: 0, twice: 0 });
    edge.stop();
  });

  test('U3: what a node reports about a task reaches CloudCore in its own name, and in no other', async () => {
    await using it = await gatewayInFront();
    const as = await mintEdge(it.ca, NODE);
    const to = { host: 'localhost', port: it.hub.port('https') };
    const post = (path: string, body: string, more: Partial<Call> = { as }) =>
      call({ to, ca: it.ca, path, method: 'POST', body, ...more });
    const task = `/task/upgrade/name/job-1/node/${NODE}/status`;
    const report = JSON.stringify({ NodeName: NODE, Event: 'Upgrade', Action: 'Success' });
    for (const path of [task, '/nodeupgrade']) {
      const answer = await post(path, report);
      expect([answer.status, answer.text]).toEqual([200, 'ok']);
    }
    const reports = it.cloudcore.reports.splice(0);
    expect(reports.map(({ path, body }) => [path, body])).toEqual([
      [task, report],
      ['/nodeupgrade', report],
    ]);
    expect(reports[0]?.subject).toContain(`CN=system:node:${NODE}`);

    const refused = async (path: string, body: string, more?: Partial<Call>) =>
      (await post(path, body, more)).status;
    expect(await refused(task.replace(NODE, 'victim'), report)).toBe(403);
    for (const name of ['NodeName', 'nodename', 'NODENAME', 'Node\\u004eame'])
      expect(await refused(task, `{"NodeName":"${NODE}","${name}":"victim"}`)).toBeGreaterThanOrEqual(400);
    expect(await refused('/nodeupgrade', '{"UpgradeID":"u"}')).toBe(403);
    expect(await refused('/nodeupgrade', 'null')).toBe(400);
    expect(await refused('/task/..%2f/name/x/node/y/status', report)).toBe(404);
    expect(await refused(task, report, { as: undefined })).toBe(401);
    await it.cloudcore.kill();
    expect(await refused(task, report)).toBe(503);
    expect(it.cloudcore.reports).toEqual([]);
  });

  test('reports over one connection leave nothing behind on it', async () => {
    await using it = await gatewayInFront();
    const as = await mintEdge(it.ca, NODE);
    const warnings: string[] = [];
    const onWarning = ({ name }: Error) => void warnings.push(name);
    process.on('warning', onWarning);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const to = { host: '127.0.0.1', port: it.hub.port('https'), ca: it.ca.pem, cert: as.pem, key: as.key };
    const reported = () =>
      new Promise<number>((resolve, reject) => {
        const call = request({ ...to, agent, method: 'POST', path: '/nodeupgrade' }, (answer) => {
          answer.resume().on('end', () => resolve(answer.statusCode!));
        });
        call.on('error', reject).end(JSON.stringify({ NodeName: NODE }));
      });
    for (let n = 0; n < 15; n++) expect(await reported()).toBe(200);
    agent.destroy();
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  test('G6: a node that CloudCore knows is known, though it has no session here', async () => {
    await using it = await gatewayInFront();
    const as = await mintEdge(it.ca, NODE);
    const to = { host: 'localhost', port: it.hub.port('https') };
    const status = async () => (await call({ to, ca: it.ca, as, path: `/node/${NODE}` })).status;
    expect(await status()).toBe(404);
    it.api.put(`null/node/${NODE}`, {});
    expect(await status()).toBe(200);
  });
});
