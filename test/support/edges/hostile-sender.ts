import { parentPort, workerData } from 'node:worker_threads';
import { WebSocket } from 'ws';

/** A thread of its own, so that masking and sealing megabytes holds nobody up who measures. */
const { url, tls, frame, times } = workerData as {
  url: string;
  tls: { ca: string; cert: string; key: string; headers: Record<string, string> };
  frame: Uint8Array;
  times: number;
};
const socket = new WebSocket(url, { ...tls, perMessageDeflate: false });
socket.on('error', () => {});
socket.on('close', (code) => parentPort!.postMessage(code));
socket.on('open', async () => {
  for (let n = 0; n < times && socket.readyState === socket.OPEN; n++)
    await new Promise<void>((resolve) => socket.send(frame, { binary: false }, () => resolve()));
  socket.close(1000);
});
