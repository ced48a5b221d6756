/** `npm run remove`: from a cluster to nothing. `--help` says more. */
import { removal, removeHelp } from './arguments.ts';
import { confirmed, main, page, say, services } from './command.ts';
import { removalPlan } from './plan.ts';
import { remove } from './removal.ts';

await main(removeHelp, async () => {
  const read = await removal(process.argv.slice(2), process.env);
  if (read === 'help') return void process.stdout.write(removeHelp);
  const { asked, profile } = read;
  if (profile !== undefined) process.env.AWS_PROFILE = profile;

  const plan = removalPlan(asked.cluster, asked.region);
  if (asked.dryRun) return void process.stdout.write(asked.json ? `${JSON.stringify(plan, null, 2)}\n` : page(plan));
  say(page(plan));
  const question = `This ends every instance of the cluster. Type its name: `;
  if (!asked.yes && !(await confirmed(question, asked.cluster))) return say('nothing was done');

  const done = await remove(asked, services(asked.cluster, asked.region));
  if (asked.json) return void process.stdout.write(`${JSON.stringify(done, null, 2)}\n`);
  const gone = done.stacks.length === 0 ? 'there was no stack' : `removed ${done.stacks.join(', ')}`;
  process.stdout.write(`cluster ${done.cluster}: ${gone}, and ${done.leftovers} leftovers\n`);
});
