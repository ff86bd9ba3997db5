import { mintCa, mintEdge, mintServer } from './pki.ts';

/** A CA, and certificates of it for a hub and for the node `edge-1`. Minted once a worker: only read them. */
export const ca = await mintCa();
export const hub = await mintServer(ca);
export const edge = await mintEdge(ca, 'edge-1');
