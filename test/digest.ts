/** All of a lab's world that a request may change, as a text: what a refused one leaves as it was. */
import type { SimulatedEngines } from '../lab/engines/simulated.ts';
import type { World } from './world.ts';

/** Calls by which the API itself changes anything; what it has done to the swarm is seen in the swarm. */
const CHANGING = ['SendMessage', 'CreateTags', 'DeleteTags', 'PutParameter'];

export function digest({ account }: World): string {
  const engines = account.engines as SimulatedEngines;
  const nodes = engines.nodes().map(({ id, role, availability, label }) => [id, role, availability, label]);
  const instances = [...account.ec2.instances.values()].map(({ id, tags, interface: its }) => [
    id,
    ...tags,
    its.groups,
  ]);
  const { elbv2, ec2, ssm } = account;
  const balancer = [[...elbv2.groups], [...elbv2.listeners], ec2.rules];
  const parameters = [...ssm.parameters].map(([name, { type, value }]) => [name, type === 'String' ? value : type]);
  const calls = account.calls.get(account.stack.functionNamed('api').name);
  const changes = CHANGING.map((name) => calls?.get(name) ?? 0);
  // Not where their tasks run: those start and move by themselves, while a request is being refused, too.
  const services = engines.services().map(({ name, labels, ports }) => ({ name, labels, ports }));
  return JSON.stringify({ services, nodes, instances, balancer, parameters, changes });
}
