/** A moto server of one's own, on a free port, and ended with whoever started it. */
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface Moto {
  readonly endpoint: string;
  stop(): Promise<void>;
}

const PATIENCE = 60_000;

/** Throws where moto_server is not installed, or does not answer. */
export async function moto(): Promise<Moto> {
  const port = await freePort();
  const server = spawn('moto_server', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  let fault: Error | undefined;
  const ended = new Promise<void>((resolve) => {
    server.on('exit', () => resolve());
    server.on('error', (cause) => {
      fault = new Error("moto_server can not be run: python3 -m pip install 'moto[server]==5.2.1'", { cause });
      resolve();
    });
  });
  const stop = async () => {
    server.kill();
    await ended;
  };
  const endpoint = `http://127.0.0.1:${port}`;
  for (const end = Date.now() + PATIENCE; Date.now() < end; await delay(100)) {
    if (fault !== undefined) throw fault;
    const answers = await fetch(`${endpoint}/moto-api/`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (answers) return { endpoint, stop };
  }
  await stop();
  throw new Error(`moto_server does not answer at ${endpoint} within ${PATIENCE / 1000} s`);
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
