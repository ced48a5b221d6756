/** Plays histories in as many processes as there are processors. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Outcome, Tale } from './history.ts';

const PROGRAM = fileURLToPath(new URL('./simulate-worker.ts', import.meta.url));

export class Players {
  readonly #idle: ChildProcess[] = [];
  readonly #waiting: ((player: ChildProcess) => void)[] = [];
  readonly #all: ChildProcess[] = [];

  constructor(count: number) {
    for (let i = 0; i < count; i++) {
      const player = fork(PROGRAM, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
      this.#all.push(player);
      player.once('message', () => this.#free(player));
    }
  }

  async play(tale: Tale): Promise<Outcome> {
    const player = this.#idle.pop() ?? (await new Promise<ChildProcess>((resolve) => this.#waiting.push(resolve)));
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error(`the process that played seed ${tale.seed} has ended`));
      player.once('exit', ended);
      player.once('message', (outcome: Outcome) => {
        player.off('exit', ended);
        this.#free(player);
        resolve(outcome);
      });
      player.send(tale);
    });
  }

  close(): void {
    for (const player of this.#all) player.kill();
  }

  #free(player: ChildProcess): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(player);
    else next(player);
  }
}
