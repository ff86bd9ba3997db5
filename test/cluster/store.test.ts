import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { describeRealCluster } from '../contract/real-cluster.contract.ts';
import { LocalCluster } from '../support/kube/local-cluster.ts';

let cluster: LocalCluster;
let kubeconfig: string;
beforeAll(async () => {
  cluster = await LocalCluster.start();
  kubeconfig = join(cluster.folder, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig('admin'));
}, 180_000);
afterAll(() => cluster[Symbol.asyncDispose]());

describeRealCluster(() => kubeconfig);
