import { mintCa, mintEdge, mintServer } from './pki.ts';

/** A CA, and of it the certificates of a hub and of the node `edge-1`. Minted once a worker: only to be read. */
export const ca = await mintCa();
export const hub = await mintServer(ca);
export const edge = await mintEdge(ca, 'edge-1');
