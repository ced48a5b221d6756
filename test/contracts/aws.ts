/**
 * What our adapters (src/aws) and the removal rely on of AWS, in one suite: `npm test` runs it against the lab's account,
 * `npm run test:emulator` against moto. So the lab can not drift from somebody else's reading of AWS unnoticed.
 */
import { CreateListenerCommand, CreateTargetGroupCommand } from '@aws-sdk/client-elastic-load-balancing-v2';
import { PutParameterCommand } from '@aws-sdk/client-ssm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leftovers } from '../../scripts/deploy/leftovers.ts';
import { autoScaling } from '../../src/aws/autoscaling.ts';
import type { Clients } from '../../src/aws/clients.ts';
import { ec2 } from '../../src/aws/ec2.ts';
import { elbv2 } from '../../src/aws/elbv2.ts';
import { parameters } from '../../src/aws/parameters.ts';
import { HOOK_TIMEOUT, hooks, tags } from '../../src/model/names.ts';

/** An account with a network, two security groups and a balancer in it. */
export interface AwsSite {
  readonly clients: Clients;
  readonly vpc: string;
  readonly swarmGroup: string;
  readonly balancerGroup: string;
  readonly balancer: string;
  /** A further security group. */
  readonly otherGroup: string;
  /** A running instance with these tags, in `otherGroup` alone. */
  launch(tags: Readonly<Record<string, string>>): Promise<string>;
  terminate(id: string): Promise<void>;
  /** An Auto Scaling group with these tags, which propagate, and one instance in service. Gives the instance. */
  group(name: string, tags: Readonly<Record<string, string>>): Promise<string>;
  close(): Promise<void>;
}

/** What a site does otherwise than AWS, by the name of the test: each is skipped there, and says so. */
export type Differences = Readonly<Record<string, string>>;

const CLUSTER = 'contract';
const health = (port: number) => ({ protocol: 'tcp', port, path: undefined }) as const;
const attributes = { delay: 30, cuts: true, clientAddress: false };
const forward = (group: string) => ({ protocol: 'tcp', group, certificate: undefined }) as const;
const OURS = { [tags.cluster]: CLUSTER };

export function awsContract(name: string, open: () => Promise<AwsSite>, differences: Differences = {}): void {
  let site: AwsSite;
  const found = new Set<string>();
  const test = (title: string, act: () => Promise<void>) => {
    found.add(title);
    it(title, async ({ skip }) => {
      const difference = differences[title];
      if (difference !== undefined) skip(difference);
      await act();
    });
  };

  describe(name, () => {
    beforeAll(async () => {
      site = await open();
    }, 60_000);
    afterAll(async () => {
      await site.close();
    });

    describe('EC2', () => {
      const adapter = () => ec2(site.clients.ec2, { cluster: CLUSTER, ...site });

      test('knows the instances of the cluster, and no other cluster’s', async () => {
        const own = await site.launch({ ...OURS, [tags.role]: 'manager' });
        const foreign = await site.launch({ [tags.cluster]: `${CLUSTER}-2` });
        const all = await adapter().ofCluster();
        expect(all.map(({ id }) => id)).toContain(own);
        expect(all.map(({ id }) => id)).not.toContain(foreign);
        expect(all.find(({ id }) => id === own)).toMatchObject({
          state: 'running',
          role: 'manager',
          lifecycle: 'on-demand',
          zone: expect.stringMatching(/^[a-z]+-[a-z]+-\d[a-z]$/),
          address: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/),
          interfaces: [{ id: expect.stringMatching(/^eni-/), groups: [site.otherGroup] }],
        });
      });

      test('finds instances by id whatever their tags, and leaves unknown ids out', async () => {
        const untagged = await site.launch({});
        const some = await adapter().byId([untagged, 'i-0123456789abcdef0']);
        expect(some.map(({ id, cluster }) => ({ id, cluster }))).toEqual([{ id: untagged, cluster: undefined }]);
      });

      test('gives an interface another security group', async () => {
        const id = await site.launch(OURS);
        const [before] = (await adapter().byId([id]))[0]?.interfaces ?? [];
        await adapter().setGroups(id, before?.id ?? '', [...(before?.groups ?? []), site.swarmGroup]);
        const [after] = (await adapter().byId([id]))[0]?.interfaces ?? [];
        expect(after?.groups.toSorted()).toEqual([site.otherGroup, site.swarmGroup].toSorted());
      });

      // Which is why a list is always merged with what was there.
      test('takes the groups away that are not in the list', async () => {
        const id = await site.launch(OURS);
        const [before] = (await adapter().byId([id]))[0]?.interfaces ?? [];
        await adapter().setGroups(id, before?.id ?? '', [site.swarmGroup]);
        const [after] = (await adapter().byId([id]))[0]?.interfaces ?? [];
        expect(after?.groups).toEqual([site.swarmGroup]);
      });

      test('says what to do where an interface has five security groups', async () => {
        const id = await site.launch(OURS);
        const own = (await adapter().byId([id]))[0]?.interfaces[0];
        const six = Array.from({ length: 6 }, (_, i) => `sg-0000000000000000${i}`);
        await expect(adapter().setGroups(id, own?.id ?? '', six)).rejects.toMatchObject({
          hint: expect.stringContaining('raise the quota'),
        });
      });

      test('tags many at once, and over what was there', async () => {
        const both = [await site.launch(OURS), await site.launch(OURS)];
        await adapter().tag(both, { [tags.state]: 'arriving' });
        await adapter().tag(both, { [tags.state]: 'member' });
        expect((await adapter().byId(both)).map(({ stage }) => stage)).toEqual(['member', 'member']);
      });

      test('remembers a terminated instance, without address and interfaces', async () => {
        const id = await site.launch(OURS);
        await site.terminate(id);
        expect((await adapter().ofCluster()).find((one) => one.id === id)).toMatchObject({
          state: 'terminated',
          address: '',
          interfaces: [],
        });
      });

      test('lets the balancer in once, however often it is told, and out again', async () => {
        await adapter().allow(8080, 8081, 'tcp');
        await adapter().allow(8080, 8081, 'tcp');
        await adapter().allow(53, 53, 'udp');
        const rules = await adapter().ingressRules();
        expect(rules.map(({ from, to, protocol }) => `${from}-${to}/${protocol}`).toSorted()).toEqual([
          '53-53/udp',
          '8080-8081/tcp',
        ]);
        for (const { id } of rules) await adapter().revoke(id);
        for (const { id } of rules) await adapter().revoke(id);
        expect(await adapter().ingressRules()).toEqual([]);
      });
    });

    describe('Elastic Load Balancing', () => {
      const adapter = () => elbv2(site.clients.elbv2, { cluster: CLUSTER, ...site });
      const groupOf = async (wanted: string) => (await adapter().groups(new Map())).find((one) => one.name === wanted);
      const listenerOf = async (port: number) => (await adapter().listeners()).find((one) => one.port === port);
      /** A published port: its group and its listener. */
      const published = async (port: number) => {
        await adapter().createGroup(`${CLUSTER}-${port}-tcp`, port, 'tcp', health(port), attributes);
        const arn = (await groupOf(`${CLUSTER}-${port}-tcp`))?.arn ?? '';
        await adapter().createListener(port, forward(arn));
        return arn;
      };
      const unpublished = async (port: number) => {
        await adapter().deleteListener((await listenerOf(port))?.arn ?? '');
        await adapter().deleteGroup((await groupOf(`${CLUSTER}-${port}-tcp`))?.arn ?? '');
      };
      /** As somebody else makes them. */
      const foreignGroup = async (wanted: string) => {
        const { TargetGroups } = await site.clients.elbv2.send(
          new CreateTargetGroupCommand({
            Name: wanted,
            Port: 80,
            Protocol: 'TCP',
            VpcId: site.vpc,
            TargetType: 'instance',
          }),
        );
        return TargetGroups?.[0]?.TargetGroupArn ?? '';
      };

      test('finds the group and the listener of a port as ours', async () => {
        const arn = await published(8101);
        expect(await groupOf(`${CLUSTER}-8101-tcp`)).toEqual({
          arn,
          name: `${CLUSTER}-8101-tcp`,
          port: 8101,
          protocol: 'tcp',
          ours: true,
          targets: [],
          health: health(8101),
          attributes,
        });
        expect(await listenerOf(8101)).toMatchObject({ ours: true, protocol: 'tcp', group: arn });
        await unpublished(8101);
      });

      test('creates a group that is there already without complaint: an answer may have been lost', async () => {
        const first = await published(8102);
        await adapter().createGroup(`${CLUSTER}-8102-tcp`, 8102, 'tcp', health(8102), attributes);
        expect((await groupOf(`${CLUSTER}-8102-tcp`))?.arn).toBe(first);
        await unpublished(8102);
      });

      test('creates a listener that is there already without complaint', async () => {
        const arn = await published(8112);
        await adapter().createListener(8112, forward(arn));
        expect((await adapter().listeners()).filter(({ port }) => port === 8112)).toHaveLength(1);
        await unpublished(8112);
      });

      test('refuses a group of the same name with other settings', async () => {
        await foreignGroup(`${CLUSTER}-8103-tcp`);
        await expect(
          adapter().createGroup(`${CLUSTER}-8103-tcp`, 8103, 'tcp', health(8103), attributes),
        ).rejects.toThrow(`creating target group ${CLUSTER}-8103-tcp`);
      });

      test('does not take for ours what lacks the tag', async () => {
        const arn = await foreignGroup(`${CLUSTER}-8104-tcp`);
        await site.clients.elbv2.send(
          new CreateListenerCommand({
            LoadBalancerArn: site.balancer,
            Port: 8104,
            Protocol: 'TCP',
            DefaultActions: [{ Type: 'forward', TargetGroupArn: arn }],
          }),
        );
        expect(await groupOf(`${CLUSTER}-8104-tcp`)).toMatchObject({ ours: false, targets: [] });
        expect(await listenerOf(8104)).toMatchObject({ ours: false });
        await adapter().deleteListener((await listenerOf(8104))?.arn ?? '');
      });

      test('registers targets, again without complaint, and deregisters them', async () => {
        const arn = await published(8105);
        const both = [await site.launch(OURS), await site.launch(OURS)];
        await adapter().register(arn, both);
        await adapter().register(arn, both);
        const targets = async () => (await groupOf(`${CLUSTER}-8105-tcp`))?.targets ?? [];
        expect((await targets()).map(({ instance }) => instance).toSorted()).toEqual(both.toSorted());
        await adapter().deregister(arn, both);
        // Gone at once, or draining until the delay is over.
        expect((await targets()).filter(({ state }) => state !== 'draining')).toEqual([]);
        await unpublished(8105);
      });

      test('deregisters what is no target without complaint', async () => {
        const arn = await published(8113);
        await adapter().deregister(arn, [await site.launch(OURS)]);
        await unpublished(8113);
      });

      test('refuses a target that does not run', async () => {
        const arn = await published(8106);
        const gone = await site.launch(OURS);
        await site.terminate(gone);
        await expect(adapter().register(arn, [gone])).rejects.toMatchObject({
          cause: { name: expect.stringMatching(/^InvalidTarget(Exception)?$/) },
        });
        await unpublished(8106);
      });

      test('takes an instance out of every group behind the balancer', async () => {
        const arns = [await published(8107), await published(8108)];
        const id = await site.launch(OURS);
        for (const arn of arns) await adapter().register(arn, [id]);
        await adapter().deregisterEverywhere(id);
        const targets = (await adapter().groups(new Map())).flatMap((one) => (one.ours ? one.targets : []));
        expect(targets.filter(({ state }) => state !== 'draining')).toEqual([]);
        for (const port of [8107, 8108]) await unpublished(port);
      });

      test('deletes what is gone already without complaint', async () => {
        const arn = await published(8109);
        const listener = (await listenerOf(8109))?.arn ?? '';
        await adapter().deleteListener(listener);
        await adapter().deleteListener(listener);
        await adapter().deleteGroup(arn);
        await adapter().deleteGroup(arn);
        expect(await listenerOf(8109)).toBeUndefined();
        expect(await groupOf(`${CLUSTER}-8109-tcp`)).toBeUndefined();
      });

      test('does not delete a group that a listener uses', async () => {
        const arn = await published(8110);
        await expect(adapter().deleteGroup(arn)).rejects.toMatchObject({
          name: expect.stringMatching(/^ResourceInUse(Exception)?$/),
        });
        await unpublished(8110);
      });
    });

    describe('Auto Scaling', () => {
      const adapter = () => autoScaling(site.clients.autoScaling, { cluster: CLUSTER });

      test('finds the groups that carry the tag, and puts a hook once', async () => {
        await site.group('contract-own', OURS);
        await site.group('contract-other', { [tags.cluster]: `${CLUSTER}-2` });
        const hook = { group: 'contract-own', hook: hooks.launch, transition: 'autoscaling:EC2_INSTANCE_LAUNCHING' };
        await adapter().put(hook);
        await adapter().put(hook);
        expect(await adapter().tagged()).toEqual([
          {
            name: 'contract-own',
            hooks: [{ name: hooks.launch, transition: hook.transition, timeout: HOOK_TIMEOUT }],
          },
        ]);
      });

      test('knows where each instance is in its life, and nothing of a group that is gone', async () => {
        const id = await site.group('contract-lives', {});
        expect(await adapter().lifecycles(['contract-lives', 'contract-gone'])).toEqual(
          new Map([[id, { name: 'contract-lives', state: 'InService' }]]),
        );
      });

      test('takes a hook that was completed, or has run out, for completed', async () => {
        const instance = await site.group('contract-done', {});
        const hook = { group: 'contract-done', hook: hooks.launch };
        await adapter().put({ ...hook, transition: 'autoscaling:EC2_INSTANCE_LAUNCHING' });
        await adapter().complete({ ...hook, instance, result: 'CONTINUE' });
        await adapter().beat({ ...hook, instance });
      });
    });

    describe('Parameter Store', () => {
      const adapter = (cluster: string) => parameters(site.clients.ssm, { cluster });
      const forming = { generation: 1, state: 'forming', instance: 'i-1', swarm: undefined, at: 1 } as const;

      test('reads what was never written as nothing', async () => {
        expect(await adapter('empty').read()).toEqual({ record: undefined, ledger: [] });
      });

      test('lets one claim the record, and no other', async () => {
        await adapter('claimed').claim(forming);
        await expect(adapter('claimed').claim({ ...forming, instance: 'i-2' })).rejects.toMatchObject({
          name: 'ParameterAlreadyExists',
        });
        expect((await adapter('claimed').read()).record).toEqual(forming);
      });

      test('writes the record and the ledger over what was there', async () => {
        const formed = { ...forming, state: 'formed', swarm: 'swarm-id' } as const;
        const entry = { node: 'n', instance: 'i-1', address: '10.0.0.1', terminated: undefined };
        await adapter('written').claim(forming);
        await adapter('written').record(formed);
        await adapter('written').ledger([entry, { ...entry, instance: 'i-2', terminated: 5 }]);
        await adapter('written').ledger([entry]);
        expect(await adapter('written').read()).toEqual({ record: formed, ledger: [entry] });
      });
    });

    describe('a removal', () => {
      test('finds by tag and path what no stack knows of, and nothing of another cluster', async () => {
        const balancer = elbv2(site.clients.elbv2, { cluster: 'leave', ...site });
        const network = ec2(site.clients.ec2, { cluster: 'leave', ...site });
        const record = parameters(site.clients.ssm, { cluster: 'leave' });
        await balancer.createGroup('leave-8111-tcp', 8111, 'tcp', health(8111), attributes);
        const group = (await balancer.groups(new Map()))[0]?.arn ?? '';
        await balancer.createListener(8111, forward(group));
        await network.allow(8111, 8111, 'tcp');
        await record.ledger([]);
        const many = Array.from({ length: 12 }, (_, i) => `/swarm-mesh/leave/${i}`);
        for (const Name of [...many, '/swarm-mesh/leave-2/swarm']) {
          await site.clients.ssm.send(new PutParameterCommand({ Name, Value: '1', Type: 'String' }));
        }
        const rest = leftovers(site.clients, 'leave');
        expect(await rest.listenersAndRules(site)).toBe(2);
        expect(await rest.targetGroupsAndParameters()).toBe(14);
        const own = [...(await balancer.listeners()), ...(await balancer.groups(new Map()))].filter(({ ours }) => ours);
        expect([own, await network.ingressRules()]).toEqual([[], []]);
        expect(await rest.targetGroupsAndParameters()).toBe(0);
        expect(await leftovers(site.clients, 'leave-2').targetGroupsAndParameters()).toBe(1);
      });
    });

    // A difference that names no test any more would hide that the two agree again.
    it('has no difference listed that is not a test', () => {
      expect(Object.keys(differences).filter((title) => !found.has(title))).toEqual([]);
    });
  });
}
