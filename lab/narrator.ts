/** What a person sees of a run: the acts, what is being waited for, a table after each, and what was verified. */
import { styleText } from 'node:util';
import type { LogLine } from './account.ts';
import type { LabClock } from './clock.ts';
import type { ActResult, Audience, NodeRow, Story } from './story.ts';

export class Narrator implements Audience {
  readonly #out: NodeJS.WriteStream;
  readonly #quiet: boolean;
  readonly #waits: () => readonly string[];
  readonly #clock: LabClock;
  #timer: NodeJS.Timeout | undefined;
  readonly #live: boolean;
  #began = 0;
  #told = '';

  constructor(out: NodeJS.WriteStream, quiet: boolean, waits: () => readonly string[], clock: LabClock) {
    this.#out = out;
    // A console that shows every line below the last, like that of a virtual machine, says so with TERM=dumb.
    this.#live = out.isTTY && process.env.TERM !== 'dumb';
    this.#quiet = quiet;
    this.#waits = waits;
    this.#clock = clock;
  }

  opens(engine: string, why: string | undefined, mesh: string, seed: number): void {
    if (this.#quiet) return;
    const notes: Record<string, string> = {
      ipvs: "real Docker engines, and the kernel's own IPVS behind the routing mesh",
      'stand-in': 'real Docker engines; this kernel has no IPVS, so a stand-in (NAT) spreads requests over the tasks',
      simulated: 'a model of Swarm, in virtual time',
    };
    this.#line(`${this.#bold('swarm-mesh lab')}  engine ${engine} (${notes[mesh]}), seed ${seed}`);
    if (why !== undefined) this.#line(this.#dim(`not on real Docker engines: ${why}`));
  }

  begins(name: string): void {
    if (this.#quiet) return;
    this.#began = this.#clock.now();
    this.#told = '';
    this.#line(`\n${this.#bold(name)}`);
    this.#timer = setInterval(() => this.#progress(), this.#live ? 200 : 5_000);
  }

  ended({ ok, seconds, detail }: ActResult, nodes: readonly NodeRow[]): void {
    if (this.#quiet) return;
    this.stop();
    for (const [i, line] of detail.split('\n').entries()) {
      const mark = i > 0 ? ' ' : ok ? this.#green('ok') : this.#red('not verified');
      this.#line(`  ${mark} ${line}${i === 0 ? this.#dim(`  (${seconds} s)`) : ''}`);
    }
    for (const line of table(nodes)) this.#line(this.#dim(`  ${line}`));
  }

  /** What went wrong on the way is worth a line at once. */
  logged({ level, message, data }: LogLine): void {
    if (this.#quiet || level === 'info') return;
    this.#clear();
    const error = data.error === undefined ? '' : `: ${data.error}`;
    this.#line(this.#dim(`  ${level} ${message}${error}`));
  }

  closes(story: Story, seconds: number, calls: Readonly<Record<string, number>>): void {
    const verified = story.acts.filter(({ ok }) => ok).length;
    const all = story.acts.every(({ ok }) => ok) && story.settled;
    this.#line('');
    this.#line(this.#bold(all ? this.#green('verified') : this.#red('not verified')));
    for (const { ok, name } of story.acts) this.#line(`  ${ok ? this.#green('ok') : this.#red('--')} ${name}`);
    const sum = Object.values(calls).reduce((a, b) => a + b, 0);
    this.#line(this.#dim(`${verified} acts in ${seconds} s of the lab's time, with ${sum} AWS calls`));
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  #progress(): void {
    const [first, ...more] = this.#waits();
    const waiting = first === undefined ? 'working' : `${first}${more.length > 0 ? ` (and ${more.length} more)` : ''}`;
    const elapsed = Math.round((this.#clock.now() - this.#began) / 1000);
    if (this.#live) {
      const text = `  ${elapsed} s  ${waiting}`.slice(0, (this.#out.columns ?? 80) - 1);
      this.#out.write(`\r\u001b[2K${this.#dim(text)}`);
    } else if (waiting !== this.#told) {
      this.#told = waiting;
      this.#line(`  ${elapsed} s  ${waiting}`);
    }
  }

  #clear(): void {
    if (this.#live) this.#out.write('\r\u001b[2K');
  }

  #line = (text: string) => this.#out.write(`${text}\n`);
  #style = (format: 'bold' | 'dim' | 'green' | 'red', text: string) =>
    styleText(format, text, { stream: this.#out, validateStream: true });
  #bold = (text: string) => this.#style('bold', text);
  #dim = (text: string) => this.#style('dim', text);
  #green = (text: string) => this.#style('green', text);
  #red = (text: string) => this.#style('red', text);
}

function table(rows: readonly NodeRow[]): string[] {
  if (rows.length === 0) return [];
  const heads = ['instance', 'zone', 'role', 'state', 'node', 'targets'] as const;
  const lines = [Object.fromEntries(heads.map((head) => [head, head.toUpperCase()])) as unknown as NodeRow, ...rows];
  const widths = heads.map((head) => Math.max(...lines.map((row) => row[head].length)));
  return lines.map((row) =>
    heads
      .map((head, i) => row[head].padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
