/** From a cluster to nothing. Each step looks before it acts, so a removal that was cut short is simply begun again. */
import { Fault } from '../../src/errors.ts';
import type { Removal } from './arguments.ts';
import type { Controller } from './controller.ts';
import type { Groups } from './groups.ts';
import { anchors, type Leftovers } from './leftovers.ts';
import { groupNames, stackNames } from './plan.ts';
import type { Stacks } from './stacks.ts';

export interface Services {
  readonly stacks: Stacks;
  readonly groups: Groups;
  readonly controller: Controller;
  readonly leftovers: Leftovers;
  readonly say: (text: string) => void;
}

export interface Removed {
  readonly cluster: string;
  readonly region: string;
  /** Stacks that were there, and are not any more. */
  readonly stacks: readonly string[];
  /** Listeners, rules, target groups and parameters that no stack knew of. */
  readonly leftovers: number;
}

export async function remove({ cluster, region }: Removal, services: Services): Promise<Removed> {
  const { stacks, groups, controller, leftovers, say } = services;
  const names = stackNames(cluster);
  const both = groupNames(cluster);
  const removed: string[] = [];

  const strangers = await groups.strangers(both);
  if (strangers.length > 0) {
    const hint = 'they are in groups of your own: bring those to zero, or take the tags away, then run this again';
    throw new Fault(`other instances are tagged as cluster ${cluster}: ${strangers.join(', ')}`, { hint });
  }
  await groups.empty(both);
  if (await stacks.remove(names.nodes)) removed.push(names.nodes);

  const anchored = anchors(await stacks.resources(names.controller));
  let cleared = anchored === undefined ? 0 : await leftovers.listenersAndRules(anchored);
  if (await stacks.exists(names.controller)) {
    say(`controller: removing ${names.controller}`);
    await controller.remove(cluster);
    removed.push(names.controller);
  }
  cleared += await leftovers.targetGroupsAndParameters();
  if (await stacks.remove(names.network)) removed.push(names.network);
  return { cluster, region, stacks: removed, leftovers: cleared };
}
