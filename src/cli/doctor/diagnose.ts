import { describeError } from '../../core/errors.ts';
import { checkNames, checkResolves } from './addresses.ts';
import { checkBackup } from './backups.ts';
import { checkAdminCertificate, checkCa, checkHub, checkTrust } from './certificates.ts';
import { checkClock } from './clock.ts';
import { CHECKS, type CheckId, type Finding, warning } from './finding.ts';
import { checkGateway, checkPorts, checkReady, checkReplicaName, checkServed } from './listeners.ts';
import { checkForecast, checkKeyExchange, checkNodeExpiry, checkRejections } from './nodes.ts';
import type { Patient } from './patient.ts';
import { checkPermissions } from './permissions.ts';
import { checkHeap, checkNodeVersion, checkOpenFiles } from './process.ts';
import { checkCrl, checkRevocations } from './revocations.ts';
import { secretFiles, secretsWhole, storeDrift, storeReachable } from './secrets.ts';
import { checkFleetToken } from './tokens.ts';
import { checkUpstream } from './upstream.ts';

type Check = (patient: Patient) => readonly Finding[] | Promise<readonly Finding[]>;

/** In the order they are shown. Each is there under its id; one that finds nothing to say says nothing. */
const ALL: readonly (readonly [CheckId, Check])[] = [
  ['store-reachable', storeReachable],
  ['secret-whole', secretsWhole],
  ['secret-files', secretFiles],
  ['store-drift', storeDrift],
  ['ca', checkCa],
  ['hub-certificate', checkHub],
  ['admin-certificate', checkAdminCertificate],
  ['trust', checkTrust],
  ['revocations', checkRevocations],
  ['crl', checkCrl],
  ['clock', checkClock],
  ['hub-names', checkNames],
  ['name-resolves', checkResolves],
  ['gateway', checkGateway],
  ['replica-name', checkReplicaName],
  ['ready', checkReady],
  ['served', checkServed],
  ['port', checkPorts],
  ['upstream', checkUpstream],
  ['permission', checkPermissions],
  ['fleet-token', checkFleetToken],
  ['backup', checkBackup],
  ['node-expiry', checkNodeExpiry],
  ['node-forecast', checkForecast],
  ['key-exchange', checkKeyExchange],
  ['rejections', checkRejections],
  ['node-version', checkNodeVersion],
  ['open-files', checkOpenFiles],
  ['heap', checkHeap],
];

/** Runs every check; one that breaks is a finding too, and keeps nobody else from being heard. */
export async function diagnose(patient: Patient): Promise<readonly Finding[]> {
  const found = await Promise.all(
    ALL.map(async ([id, check]) => {
      try {
        return await check(patient);
      } catch (error) {
        return [
          warning(id, `${CHECKS[id]}: the check could not be made`, {
            detail: describeError(error),
            hint: 'see the log of the gateway; when it is our fault, report it',
          }),
        ];
      }
    }),
  );
  return found.flat();
}
