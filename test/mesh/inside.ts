/** The acts of the run that need the mesh, on three engines with two replicas: one node has none of its own. */
import { Account } from '../../lab/account.ts';
import { Balancer } from '../../lab/balancer.ts';
import { RealClock } from '../../lab/clock.ts';
import { DockerEngines, whyNot } from '../../lab/engines/docker.ts';
import { kernelHasIpvs } from '../../lab/engines/mesh.ts';
import { Narrator } from '../../lab/narrator.ts';
import { Random } from '../../lab/random.ts';
import { acts, tell, waits } from '../../lab/story.ts';

const INSTANCES = 3;
const reason = kernelHasIpvs() ? whyNot() : 'the kernel has no IPVS';
if (reason !== undefined) {
  console.error(`the routing mesh can not be tested: ${reason}`);
  process.exit(1);
}
const clock = new RealClock();
const account = new Account({
  clock,
  random: new Random(1),
  engines: (_clock, _random, tokens) => new DockerEngines(tokens),
});
const balancer = new Balancer(account);
const narrator = new Narrator(process.stdout, false, () => waits(account), clock);
account.onLog = (line) => narrator.logged(line);
// One manager: under an emulated kernel each look at the swarm takes seconds.
const played = acts(INSTANCES, 1).filter(({ name }) => !/scales out|replaced/.test(name));
narrator.opens('docker', undefined, 'ipvs', 1);
const story = await tell(account, balancer, INSTANCES, narrator, played);
narrator.stop();
account.stop();
balancer.close();
await account.engines.close();
const failed = story.acts.filter(({ ok }) => !ok).length;
console.log(`${story.acts.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 && story.acts.length === played.length ? 0 : 1);
