/** A TCP load balancer in front of the lab: every listener of the account forwards to its healthy targets. */
import { connect, createServer, type Server } from 'node:net';
import type { Account } from './account.ts';

/** Loopback, but not 127.0.0.1: whoever runs the lab may have something on port 8080 there. */
export const ADDRESS = '127.77.0.1';

export class Balancer {
  readonly #account: Account;
  readonly #servers = new Map<number, Server>();
  #turn = 0;

  constructor(account: Account) {
    this.#account = account;
    account.onListeners = () => this.#follow();
  }

  close(): void {
    this.#account.onListeners = () => {};
    for (const server of this.#servers.values()) server.close();
    this.#servers.clear();
  }

  #follow(): void {
    // Datagrams and TLS are AWS's affair: here connections are forwarded as they come.
    const forwarded = [...this.#account.elbv2.listeners.values()].filter(({ protocol }) => protocol.startsWith('TCP'));
    const ports = new Set(forwarded.map(({ port }) => port));
    for (const [port, server] of this.#servers) {
      if (ports.has(port)) continue;
      server.close();
      this.#servers.delete(port);
    }
    for (const port of ports) if (!this.#servers.has(port)) this.#servers.set(port, this.#listen(port));
  }

  #listen(port: number): Server {
    const server = createServer((client) => {
      const targets = this.#account.elbv2.healthy(port);
      const target = targets[this.#turn++ % targets.length];
      if (target === undefined) {
        client.destroy();
        return;
      }
      const upstream = connect({ host: this.#account.ec2.get(target).address, port });
      // Either end's failure is the other's end: that is all a balancer of connections can say.
      client.on('error', () => upstream.destroy());
      upstream.on('error', () => client.destroy());
      client.pipe(upstream).pipe(client);
    });
    return server.listen(port, ADDRESS);
  }
}
