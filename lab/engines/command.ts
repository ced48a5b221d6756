/** Running other programs, and asking a Docker engine over its socket. */
import { spawn } from 'node:child_process';
import { request } from 'node:http';

export interface Done {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Milliseconds after which it is killed. */
  readonly timeout?: number;
}

/** Runs a program to its end, whatever that is. Rejects only where it could not be started. */
export function attempt(command: string, args: readonly string[], options: RunOptions = {}): Promise<Done> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: options.env ?? process.env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const timer = options.timeout === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), options.timeout);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 137, stdout, stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
  });
}

/** Runs a program that has to succeed; gives what it printed. */
export async function must(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await attempt(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit ${code}: ${(stderr || stdout).trim()}`);
  return stdout;
}

/** GET of a Docker engine's API. Rejects where it does not answer with 200. */
export function engineGet<T>(socketPath: string, path: string, timeout = 5_000): Promise<T> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: `/v1.40${path}`, timeout }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => {
        if (response.statusCode !== 200) reject(new Error(`${path}: ${response.statusCode} ${body.trim()}`));
        else resolve(JSON.parse(body === 'OK' ? '"OK"' : body) as T);
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`${path}: no answer within ${timeout} ms`)));
    asked.on('error', reject);
    asked.end();
  });
}
