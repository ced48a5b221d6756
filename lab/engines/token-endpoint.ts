/** Parameter Store as the nodes' own `aws` command reaches it: just enough of Systems Manager over HTTP. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TokenStore } from './engine.ts';

export class TokenEndpoint {
  readonly #server: Server;

  constructor(tokens: TokenStore) {
    this.#server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        const answer = answered(String(request.headers['x-amz-target']), body, tokens);
        response.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.1' });
        response.end(JSON.stringify(answer.value));
      });
    });
  }

  /** Gives its URL. */
  async listen(address: string): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, address, resolve);
    });
    return `http://${address}:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

function answered(target: string, body: string, tokens: TokenStore): { status: number; value: object } {
  const input = JSON.parse(body) as { Name: string; Value?: string; KeyId?: string; WithDecryption?: boolean };
  if (target === 'AmazonSSM.PutParameter') {
    tokens.put(input.Name, input.Value ?? '', input.KeyId ?? '');
    return { status: 200, value: { Version: 1, Tier: 'Standard' } };
  }
  const value = tokens.get(input.Name);
  if (target !== 'AmazonSSM.GetParameter' || value === undefined || input.WithDecryption !== true) {
    return { status: 400, value: { __type: 'ParameterNotFound', message: `${input.Name} not found` } };
  }
  return { status: 200, value: { Parameter: { Name: input.Name, Type: 'SecureString', Value: value } } };
}
