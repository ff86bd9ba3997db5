import { test } from 'vitest';
import { describeRealCluster } from './real-cluster.contract.ts';

const source = process.env.SALLYPORT_TEST_KUBECONFIG;

// Reported as not run rather than passed where there is no cluster to ask.
test.skipIf(source === undefined)(
  'a real cluster is asked (not run where SALLYPORT_TEST_KUBECONFIG is not set)',
  () => {},
);

if (source !== undefined) describeRealCluster(() => source);
