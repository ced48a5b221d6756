/** What both commands have in common: who is asked, what is printed where, and how it ends. */
import { createInterface } from 'node:readline/promises';
import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import { clients } from '../../src/aws/clients.ts';
import { systemClock } from '../../src/clock.ts';
import { Fault, message } from '../../src/errors.ts';
import { Usage } from './arguments.ts';
import { controller, run } from './controller.ts';
import { groups } from './groups.ts';
import { leftovers } from './leftovers.ts';
import type { Plan } from './plan.ts';
import { stacks } from './stacks.ts';

/** Progress is for people: standard output has the result alone. */
export const say = (text: string): void => void process.stderr.write(`${text}\n`);

export function services(cluster: string, region: string) {
  const aws = clients({ region });
  return {
    ec2: aws.ec2,
    stacks: stacks(new CloudFormationClient({ region, maxAttempts: 8 }), systemClock, say),
    groups: groups(aws, cluster, systemClock, say),
    controller: controller(run, region),
    leftovers: leftovers(aws, cluster),
    say,
  };
}

/** Whether whoever sits there typed just this. Where nobody does, --yes has to be given. */
export async function confirmed(question: string, answer: string): Promise<boolean> {
  if (process.stdin.isTTY !== true) throw new Usage('nobody is there to ask: add --yes');
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await asking.question(question)).trim() === answer;
  } finally {
    asking.close();
  }
}

/** Ends with 0, or tells what is wrong and ends with 1 or 2. */
export async function main(help: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    process.stderr.write(`${message(error)}\n`);
    if (error instanceof Fault && error.hint !== undefined) process.stderr.write(`${error.hint}\n`);
    if (error instanceof Usage) process.stderr.write(`\n${help}`);
    process.exitCode = error instanceof Usage ? 2 : 1;
  }
}

/** A plan as a page to read. */
export function page({ cluster, region, steps, warnings }: Plan): string {
  const lines = [`cluster ${cluster} in ${region}`, ''];
  for (const [i, { step, why, stack, parameters = {}, resources = {} }] of steps.entries()) {
    lines.push(`${i + 1}. ${step}${stack === undefined ? '' : `: stack ${stack}`}`, `   ${why}`);
    for (const [name, value] of Object.entries(parameters))
      lines.push(`     ${name} = ${value === '' ? '(none)' : value}`);
    for (const [kind, names] of Object.entries(resources)) lines.push(`     ${kind}: ${names.join(', ')}`);
    lines.push('');
  }
  for (const warning of warnings) lines.push(`warning: ${warning}`);
  return `${lines.join('\n')}\n`;
}
