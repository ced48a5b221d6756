/** `npm run deploy`: from nothing to a cluster. `--help` says more. */
import { deployHelp, deployment } from './arguments.ts';
import { confirmed, main, page, say, services } from './command.ts';
import { deploy, planned } from './deployment.ts';

await main(deployHelp, async () => {
  const read = await deployment(process.argv.slice(2), process.env);
  if (read === 'help') return void process.stdout.write(deployHelp);
  const { asked, profile } = read;
  // For osls as well as for the clients.
  if (profile !== undefined) process.env.AWS_PROFILE = profile;
  const parts = services(asked.cluster, asked.region);

  const plan = await planned(asked, parts.controller);
  if (asked.dryRun) return void process.stdout.write(asked.json ? `${JSON.stringify(plan, null, 2)}\n` : page(plan));
  say(page(plan));
  if (!asked.yes && !(await confirmed('Deploy this? Type yes: ', 'yes'))) return say('nothing was done');

  const done = await deploy(asked, parts);
  if (asked.json) return void process.stdout.write(`${JSON.stringify(done, null, 2)}\n`);
  process.stdout.write(`cluster ${done.cluster}: ${done.members} members

published ports answer at  ${done.address}
the API answers at         ${done.api}

Next:
  a shell on a node:  aws ssm start-session --region ${done.region} --target INSTANCE
  a service there:    docker service create --name web --replicas 2 nginx
  publish it:         curl --aws-sigv4 aws:amz:${done.region}:execute-api --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
                        -X PUT ${done.api}/services/web/ports/8080 -H 'content-type: application/json' -d '{"targetPort": 80}'
  ask for it:         curl http://${done.address}:8080/
  remove all of it:   npm run remove -- --cluster ${done.cluster} --region ${done.region}
`);
});
